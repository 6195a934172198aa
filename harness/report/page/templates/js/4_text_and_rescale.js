// Parts of a model's section that few rows have: regions that were rescaled, a text and its continuations.

/** The regions that were scaled to fit float16, and those that could not be. */
function rescalePart(rows) {
  const regions = rows.flatMap(({label, record}) => (record.rescaled ?? []).map((one) => ({label, ...one})));
  if (!regions.length) return [];
  const listed = (values) => (values ?? []).map(figure).join(", ") || "-";
  const columns = [field("row", (one) => one.label), field("region of", (one) => one.name, {cell: (one) => el("span", {class: "name"}, one.name)}),
    field("factor", (one) => one.factor, {numeric: true, text: (one) => (one.factor === 1 ? "left" : `2^${Math.round(Math.log2(one.factor))}`)}),
    field("peak", (one) => one.peak_before, {numeric: true}), field("peak after", (one) => one.peak_after, {numeric: true}),
    field("ceiling", (one) => one.ceiling, {numeric: true}), field("values", (one) => one.values?.length ?? 0, {numeric: true}),
    field("weights", (one) => one.weights?.length ?? 0, {numeric: true}), field("epsilon", (one) => listed(one.epsilon_before)),
    field("epsilon after", (one) => listed(one.epsilon_after)), field("ops added", (one) => one.multiplications?.length ?? 0, {numeric: true}),
    field("remark", (one) => one.reason || "-", {words: true})];
  return [el("h4", {}, "Rescaled to fit float16"), new Table({caption: "Regions of values, with the largest magnitude of each in calibration", columns: columns.filter((column) => regions.some((one) => column.text(one) !== "-")), rows: regions, page: 20, className: "fixed"}).element];
}

/** What the rows that read a text make of it, beside float32 PyTorch. */
function textPart(rows) {
  const read = rows.filter(({record}) => record.text);
  if (!read.length) return [];
  const columns = [rowColumn, executorColumn, field("perplexity", ({record}) => record.text.perplexity, {numeric: true, text: ({record}) => infinite(record.text.perplexity)}),
    field("float32's", ({record}) => record.text.perplexity_float32, {numeric: true, text: ({record}) => infinite(record.text.perplexity_float32)}),
    field("next tokens as in float32", ({record}) => record.text.agreement, {numeric: true, text: ({record}) => `${(100 * record.text.agreement).toFixed(1)} %`})];
  const prompts = d3.group(read, ({record}) => `${record.text.prompt}\u0000${record.text.float32}`);
  return [el("h4", {}, "A text, and how it is continued"), new Table({caption: `A text read by ${executors(read)}`, columns, rows: read, page: 40, className: "fixed"}).element,
    ...[...prompts.values()].map(continuations)];
}

const infinite = (perplexity) => (perplexity === null || perplexity === undefined ? "infinite" : figure(perplexity));

/** The continuations of one prompt; rows that write the same share an entry, and one that writes as float32 does says so. */
function continuations(rows) {
  const {prompt, float32} = rows[0].record.text;
  const own = d3.group(rows, ({record}) => record.text.continuation);
  const entry = ([text, members]) => [el("dt", {}, members.map(({label}) => label).join(", ")),
    el("dd", {}, text === float32 ? el("span", {class: "soft"}, "the same, word for word") : el("q", {}, text || "nothing"))];
  return el("dl", {class: "facts texts"}, el("dt", {}, "prompt"), el("dd", {}, el("q", {}, prompt)), el("dt", {}, "float32 PyTorch"), el("dd", {}, el("q", {}, float32)), [...own].flatMap(entry));
}
