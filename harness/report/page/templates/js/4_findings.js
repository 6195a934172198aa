// What the comparison says of a model, and how its rows went from night to night.

function findingsOf(model) {
  const found = data("page").findings.filter((finding) => finding.model === model);
  if (!found.length) return null;
  return el("ul", {class: "findings"}, found.map((finding) => el("li", {},
    verdictTag(finding.verdict), el("p", {}, el("span", {class: "where"}, finding.title), ` ${finding.sentence}`))));
}

/** Chart and table of each metric that the history has for these rows. */
function historyPart(rows) {
  const {nights, series} = data("history");
  const own = rows.flatMap(({index, label}) => (series[index] ?? []).map((one) => ({...one, label})));
  if (!own.length) return el("p", {class: "soft"}, "No earlier run of these rows: a history needs at least two.");
  const [still, moved] = [[], []];
  for (const [metric, members] of d3.group(own, (one) => one.metric)) (members.every(isStill) ? still : moved).push([metric, members]);
  return [
    ...moved.map(([metric, members]) => metricHistory(metric, members, nights)),
    still.length ? el("p", {class: "soft"}, `The same in each of ${plural(nights.length, "run")}: ${still.map(([metric]) => metric).join(", ")}.`) : null,
  ];
}

/** Whether a series has one value alone: nothing that a chart could show. */
const isStill = ({values}) => new Set(values.filter((value) => value !== null)).size <= 1;

function metricHistory(metric, members, nights) {
  const date = (place) => new Date(nights[place].time);
  const steps = members.flatMap(({label, steps: found}) => found.map((step) => ({...step, label, x: date(step.night)})));
  const drawn = members.map(({label, values}) => ({
    label, points: values.map((value, place) => ({x: date(place), y: value})).filter(({y}) => y !== null),
  }));
  const who = [...new Set(members.map(({executor}) => executor))].map((name) => (name === "reference" ? "the reference executor" : name)).join(" and ");
  const caption = `${metric} over ${plural(nights.length, "run")}, run by ${who}${steps.length ? "; a dashed line is a change point" : ": no change point"}`;
  return el("div", {}, lines(caption, {label: null, type: "utc"}, metric, drawn, steps), steps.length ? stepTable(metric, steps) : null);
}

function stepTable(metric, steps) {
  const columns = [field("row", (step) => step.label), field("since", (step) => step.since),
    field("before", (step) => step.before, {numeric: true}), field("after", (step) => step.after, {numeric: true}),
    field("what else changed then", (step) => [...step.between, ...step.commits].join("; ") || "nothing that the records know of", {words: true})];
  return new Table({caption: `Change points of ${metric}`, columns, rows: steps, page: 40, className: "fixed"}).element;
}
