// A model's section: its norm sites, precision, times, history and environment, built when it is first opened.

const MILLISECONDS = 1e3;
const LONG_NAMES = {
  predict: "one prediction, wall time",
  predict_framework: "one prediction, as Core ML times it",
  first_predict: "first prediction",
  cold_compile: "compilation and first load",
  warm_load: "load from the system's cache",
  sustained: "predictions one after another, without a pause",
};

/** The rows of each model, in the order of the records: a Map of model to [{index, record, label}]. */
function modelRows() {
  const models = new Map();
  data("details").records.forEach((record, index) => {
    if (!models.has(record.model)) models.set(record.model, []);
    models.get(record.model).push({index, record});
  });
  for (const rows of models.values()) nameRows(rows);
  return models;
}

/** Give each row a label of the fields that tell a model's rows apart, none that another already does. */
function nameRows(rows) {
  const fields = [];
  const read = (record, names) => names.map((name) => record[name] ?? "");
  const kinds = (names) => new Set(rows.map(({record}) => read(record, names).join("\u0000"))).size;
  const first = ["variant", "lowering"];
  for (const name of [...first, ...data("details").row_fields.filter((one) => one !== "model" && !first.includes(one))]) {
    const parts = kinds([...fields, name]) > Math.max(1, kinds(fields));
    if (parts || (name === "lowering" && kinds([name]) > 1)) fields.push(name); // "on layer_norm" says more than "on"
  }
  const seen = new Map();
  for (const row of rows) {
    const label = read(row.record, fields).filter(Boolean).join(" ") || row.record.variant;
    const count = (seen.get(label) ?? 0) + 1;
    seen.set(label, count);
    row.label = shorten(visible(count > 1 ? `${label} (${count})` : label));
  }
}

/** The body of a model's section. */
function modelBody(rows, model) {
  return el("div", {class: "body"},
    findingsOf(model), notOk(rows), el("h4", {}, "Norm sites"), sitesPart(rows), guardRails(rows), ...rescalePart(rows), el("h4", {}, "Precision"), precisionPart(rows), ...textPart(rows),
    el("h4", {}, "Times"), timesPart(rows), el("h4", {}, "History"), historyPart(rows), el("h4", {}, "Environment"), environmentPart(rows));
}

function notOk(rows) {
  const wrong = rows.filter(({record}) => record.status !== "ok" || record.reason || record.marks?.length);
  return wrong.map(({label, record}) => el("div", {},
    record.status === "ok" ? (record.reason ? el("p", {}, el("strong", {}, label), `: ${record.reason}`) : null) : el("p", {}, el("span", {class: "tag worse"}, `\u2715 ${record.status} `), el("strong", {}, label), record.reason ? `: ${record.reason}` : ""),
    record.marks?.length ? el("p", {}, el("span", {class: "tag doubt"}, "! marked "), el("strong", {}, label), `: ${record.marks.join(", ")}`) : null,
    record.log ? el("details", {class: "more"}, el("summary", {}, "The end of what its process printed"), el("pre", {tabindex: 0}, record.log)) : null));
}

/** Rows that have the same sites share a table. */
function sitesPart(rows) {
  const groups = d3.group(rows, ({record}) => record.sites);
  return [...groups].map(([place, members]) => {
    const sites = siteList(place);
    const names = members.map(({label}) => label);
    const listed = names.length > 6 ? `${names.slice(0, 6).join(", ")} and ${plural(names.length - 6, "row")} more` : names.join(", ");
    if (!sites.length) return el("p", {}, el("strong", {}, listed), `: ${noSites(members[0].record)}`);
    const fused = sites.filter((site) => site.fused).length;
    const {norms_expected: expected} = members[0].record;
    const caption = `${listed}: ${fused} of ${plural(sites.length, "site")} fused${expected === undefined ? "" : `, ${plural(expected, "norm")} expected`}`;
    const columns = SITE_COLUMNS.filter((column) => sites.some((site) => !["", "-", "0"].includes(column.text(site))));
    return new Table({caption, columns, rows: sites, page: 60, className: "fixed"}).element;
  });
}

/** What fused norms touch that may go wrong on the device; rows that say the same share a line. */
function guardRails(rows) {
  const said = d3.group(rows.flatMap(({label, record}) => (record.warnings ?? []).map((text) => ({label, text}))), ({text}) => text);
  if (!said.size) return null;
  const columns = [field("guard rail", ([text]) => text, {words: true}), field("in", ([, members]) => members.map(({label}) => label).join(", "), {words: true})];
  return new Table({caption: "Guard rails that fused norms touch", columns, rows: [...said], page: 20}).element;
}

/** The sites of a place of the list, as objects: they are stored as arrays. */
function siteList(place) {
  const {site_fields: names, sites} = data("details");
  return sites[place].map((values) => Object.fromEntries(values.map((value, index) => [names[index], value])));
}

function noSites(record) {
  if (record.status !== "ok") return "no norm was counted.";
  return record.norms_expected === 0 ? "a control: it has no RMSNorm, and none was found." : "no norm site was found.";
}

const SITE_COLUMNS = [
  field("site", (site) => site.module || site.name, {cell: (site) => el("span", {class: "name", title: site.name}, site.module || site.name)}),
  field("state", (site) => (site.fused ? "fused" : "not fused"), {
    cell: (site) => el("span", {class: `tag ${site.fused ? "better" : "plain"}`}, site.fused ? "\u2713 fused" : "\u25cb not fused")}),
  field("why not", (site) => site.reason || (site.fused ? "" : "this variant fuses none"), {words: true}),
  field("spelling", (site) => site.spelling),
  field("shape", (site) => site.shape.join(" \u00d7 ")),
  field("axes", (site) => site.axes.join(", ") || "-"),
  field("epsilon", (site) => site.epsilon, {numeric: true}),
  field("gamma", (site) => (site.has_gamma === null ? "-" : site.has_gamma ? "yes" : "no")),
  field("deviates by up to", (site) => site.deviation_bound, {numeric: true}),
];

const rowColumn = field("row", (row) => row.label);
const executorColumn = field("executor", (row) => row.record.executor);

function precisionPart(rows) {
  const measured = rows.filter(({record}) => compared(record));
  const names = [...new Set(measured.flatMap(({record}) => Object.keys(record.metrics)))];
  if (!names.length) return el("p", {class: "soft"}, "No row of this model came as far as a comparison with PyTorch.");
  const columns = [rowColumn, executorColumn, field("policy", ({record}) => record.policy),
    ...names.map(metricColumn)];
  const points = measured.map(({label, record}) => ({label, value: record.metrics.rel_l2})).filter(({value}) => value > 0);
  const who = executors(measured);
  return [
    points.length > 1 ? dots(`Relative L2 error of the logits against float32 PyTorch, by row, run by ${who}`, "relative L2 error", points.slice(0, MOST_SERIES)) : null,
    new Table({caption: `Logits against float32 PyTorch, run by ${who}`, columns, rows: measured, page: 40, className: "fixed"}).element,
    regimesPart(measured),
  ];
}

/** Whether a row's output was compared: the metrics of a row that ended before are all null. */
function compared({metrics, status}) {
  const found = Object.values(metrics ?? {});
  return found.some((value) => value !== null) || (found.length > 0 && (status === "ok" || status === "wrong"));
}

/** A null metric of a compared row was NaN or infinite, for which JSON has no word. */
function metricColumn(name) {
  const text = ({record}) => (record.metrics[name] === null ? "not finite" : figure(record.metrics[name]));
  return field(name, ({record}) => record.metrics[name], {numeric: true, text});
}

/** The error of one norm by input regime, for the lowerings that these rows use. */
function regimesPart(rows) {
  const {errors, run} = data("page").regimes ?? {};
  if (!errors) return el("p", {class: "soft"}, "No error by input regime: ane-harness run --regimes measures it, into the same results.");
  const used = new Set(rows.map(({record}) => record.lowering).filter(Boolean));
  const shown = errors.filter((error) => used.has(error.lowering) || error.lowering.startsWith("("));
  if (!used.size || !shown.length) return null;
  const columns = [field("lowering", (error) => error.lowering), field("policy", (error) => error.policy),
    ...Object.keys(shown[0].by_regime).map((name) => field(name, (error) => error.by_regime[name], {numeric: true}))];
  return new Table({caption: `One norm of these lowerings by input regime, mean relative error (zeros: largest output), run by the reference executor in ${run}`,
    columns, rows: shown, className: "fixed"}).element;
}

/** Who ran these rows, in words: the reference executor is no device. */
function executors(rows) {
  const names = [...new Set(rows.map(({record}) => record.executor))];
  return names.map((name) => (name === "reference" ? "the reference executor" : name)).join(" and ");
}

/** Latencies by executor and kind: distributions where there are samples, one table for what is measured once. */
function timesPart(rows) {
  const parts = [];
  for (const [executor, members] of d3.group(rows.filter(({record}) => record.samples), ({record}) => record.executor)) {
    const who = executor === "reference" ? "the reference executor, an interpreter: no device's time" : executor;
    const kinds = [...new Set(members.flatMap(({record}) => Object.keys(record.samples)))];
    const often = (kind) => members.some(({record}) => record.samples[kind]?.length > 2);
    for (const kind of kinds.filter(often)) parts.push(samplesPart(kind, who, members.filter(({record}) => record.samples[kind]?.length)));
    parts.push(onceTable(kinds.filter((kind) => !often(kind)), who, members));
  }
  if (!parts.length) parts.push(el("p", {class: "soft"}, "No latencies: no row of this model was timed on a device."));
  return [...parts.flat(), stepsTable(rows), placementTable(rows)];
}

function samplesPart(kind, who, rows) {
  const name = LONG_NAMES[kind] ?? kind;
  const series = rows.map(({label, record}) => ({label, record, values: milliseconds(record, kind)}));
  const drawn = series.slice(0, MOST_SERIES);
  const quantile = (share) => (one) => d3.quantile(one.values, share);
  const columns = [rowColumn, field("samples", (one) => one.values.length, {numeric: true}), field("median, ms", quantile(0.5), {numeric: true}),
    field("p5, ms", quantile(0.05), {numeric: true}), field("p95, ms", quantile(0.95), {numeric: true}),
    field("min, ms", (one) => d3.min(one.values), {numeric: true}), field("max, ms", (one) => d3.max(one.values), {numeric: true}),
    field("pair", (one) => one.record.pair || "-")];
  return [(kind === "sustained" ? inOrder : distributions)(`${name}, run by ${who}`, drawn),
    new Table({caption: `In figures: ${name}, run by ${who}`, columns, rows: series, page: 40, className: "fixed"}).element];
}

const milliseconds = (record, kind) => (record.samples[kind] ?? []).map((seconds) => seconds * MILLISECONDS);

function onceTable(kinds, who, rows) {
  if (!kinds.length) return [];
  const columns = [rowColumn, ...kinds.map((kind) => field(`${LONG_NAMES[kind] ?? kind}, ms`, ({record}) => d3.median(milliseconds(record, kind)), {numeric: true}))];
  return [new Table({caption: `Measured once, run by ${who}`, columns, rows, page: 40, className: "fixed"}).element];
}

function stepsTable(rows) {
  const steps = (name) => [...new Set(rows.flatMap(({record}) => Object.keys(record[name] ?? {})))];
  const columns = [rowColumn,
    ...steps("seconds").map((name) => field(`${name}, s`, ({record}) => record.seconds?.[name], {numeric: true})),
    ...steps("peak_memory_bytes").map((name) => field(`${name}, peak MB`, ({record}) => megabytes(record.peak_memory_bytes?.[name]), {numeric: true})),
    field("package", ({record}) => (record.cached ? "from the cache" : "made"))];
  if (columns.length < 3) return null;
  return new Table({caption: `Steps of the run on the machine below; execute is by ${executors(rows)}`, columns, rows, page: 40, className: "fixed"}).element;
}

const megabytes = (bytes) => (bytes === undefined ? undefined : bytes / 1e6);

function placementTable(rows) {
  const placed = rows.filter(({record}) => record.placement);
  if (!placed.length) return null;
  const counts = (what) => ({record}) => Object.entries(record.placement[what]).map(([device, count]) => `${device} ${figure(count)}`).join(", ") || "-";
  const columns = [rowColumn, field("ops", counts("ops")), field("share of cost", counts("cost")), field("norms", counts("norms")),
    field("hand-offs", ({record}) => record.placement.hand_offs, {numeric: true})];
  return new Table({caption: "Where Core ML plans to run the program, by device: planned, not traced", columns, rows: placed, page: 40, className: "fixed"}).element;
}

function environmentPart(rows) {
  const groups = d3.group(rows, ({record}) => record.environment);
  return [...groups].map(([place, members]) => el("div", {},
    groups.size > 1 ? el("p", {}, el("strong", {}, members.slice(0, 6).map(({label}) => label).join(", "))) : null, environmentFacts(data("details").environments[place], members)));
}

function environmentFacts(environment, rows) {
  const conditions = rows.flatMap(({record}) => [record.condition, record.condition_after]).filter(Boolean);
  const condition = (name) => [...new Set(conditions.map((one) => one[name]).filter((value) => value !== "" && value !== null))].join(", ");
  const only = (name) => [...new Set(rows.map(({record}) => record[name]).filter((value) => value !== undefined))].join(", ");
  const clean = {true: " (clean)", false: " (with uncommitted changes)"}[environment.git_clean] ?? "";
  return facts({
    "operating system": environment.os, processor: `${environment.chip || "unnamed"}, ${environment.machine}, ${plural(environment.cores, "core")}`,
    memory: `${(environment.memory_bytes / 1e9).toFixed(1)} GB`,
    versions: Object.entries(environment.versions).filter(([, version]) => version).map(([name, version]) => `${name} ${version}`).join(", "),
    commit: environment.git_commit ? environment.git_commit.slice(0, 12) + clean : "", power: condition("power"), thermal: condition("thermal"),
    "low power mode": condition("low_power_mode"), "load average": condition("load"), rosetta: condition("translated"), worker: only("worker"),
    seed: only("seed"), "sequence length": only("sequence_length"), checkpoint: only("checkpoint") || "random weights", definition: only("definition"),
  });
}

function facts(pairs) {
  return el("dl", {class: "facts"}, Object.entries(pairs).filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}
