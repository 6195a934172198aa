// Charts, drawn by Observable Plot as SVG: they follow the text's colour, print, and can be read by a screen reader.

const SERIES = ["var(--series-1)", "var(--series-2)", "var(--series-3)", "var(--series-4)", "var(--series-6)", "var(--series-5)"];
const SYMBOLS = ["circle", "square", "triangle", "diamond", "star", "cross"];
const DASHES = [null, "7,4", "2,4", "9,3,2,3", "4,3", "1,3"];
const MOST_SERIES = 24;
const LABEL_WIDTH = 7;

/** A chart is as wide as its section, in pixels: a phone's are drawn for the phone, not shrunk. */
const chartWidth = () => Math.max(300, document.getElementById("model-list").clientWidth - 8);

/** A figure: its caption says what is seen and who measured it. */
function chart(caption, options) {
  const svg = Plot.plot({className: "chart", ariaLabel: caption, width: chartWidth(), ...options});
  // Plot writes its few rules into a style element, which the page's policy refuses; they stand in the page's own sheet.
  for (const style of svg.querySelectorAll("style")) style.remove();
  svg.setAttribute("role", "img"); // which has one name, and no parts with names of their own
  for (const part of svg.querySelectorAll("[aria-label]")) {
    part.setAttribute("data-mark", part.getAttribute("aria-label"));
    part.removeAttribute("aria-label");
  }
  return el("figure", {}, el("figcaption", {}, caption), svg);
}

/** The left margin that the longest of these labels needs. */
const margin = (labels) => Math.min(0.45 * chartWidth(), 24 + LABEL_WIDTH * Math.max(0, ...labels.map((label) => label.length)));

const shorten = (label) => (label.length > 46 ? `${label.slice(0, 45)}\u2026` : label);

/** Points on a logarithmic axis of whole decades, one line a row. points: [{label, value}], values above 0 */
function dots(caption, unit, points) {
  const labels = [...new Set(points.map((point) => point.label))];
  const [least, most] = d3.extent(points, (point) => Math.log10(point.value));
  const [low, high] = [Math.floor(least), Math.max(Math.floor(least) + 1, Math.ceil(most))];
  const steps = high - low > 2 ? [1] : [1, 2, 5];
  const ticks = d3.range(low, high + 1).flatMap((decade) => steps.map((step) => step * 10 ** decade)).filter((tick) => tick <= 10 ** high * 1.001);
  return chart(caption, {
    height: 60 + 24 * labels.length, marginLeft: margin(labels), x: {type: "log", domain: [10 ** low, 10 ** high], ticks, label: unit, grid: true, tickFormat: (tick) => tick.toExponential(0)}, y: {label: null, domain: labels},
    marks: [Plot.dot(points, {x: "value", y: "label", r: 4.5, fill: SERIES[0], title: (d) => `${d.label}: ${figure(d.value)}`})],
  });
}

/** Raw samples as ticks under a box of their quartiles. series: [{label, values}], values in milliseconds */
function distributions(caption, series) {
  const points = series.flatMap(({label, values}) => values.map((value) => ({label, value})));
  const labels = series.map(({label}) => label);
  return chart(caption, {
    height: 60 + 34 * labels.length, marginLeft: margin(labels), x: {label: "time, ms", grid: true, nice: true}, y: {label: null, domain: labels},
    marks: [
      Plot.tickX(points, {x: "value", y: "label", stroke: SERIES[1], strokeOpacity: 0.45, insetTop: 2, insetBottom: 2}),
      Plot.boxX(points, {x: "value", y: "label", fill: SERIES[0], fillOpacity: 0.18, stroke: SERIES[0], r: 0, insetTop: 6, insetBottom: 6}),
    ],
  });
}

/** Samples in the order measured. series: [{label, values}], values in milliseconds */
function inOrder(caption, series) {
  return lines(caption, {label: "sample", type: "linear"}, "time, ms", series.map(({label, values}) => ({
    label, points: values.map((value, index) => ({x: index + 1, y: value})),
  })), []);
}

/** Series of the same points as one, whose label names each: lines that coincide would hide each other. */
function merged(series) {
  const same = d3.group(series, ({points}) => JSON.stringify(points));
  return [...same.values()].map((members) => {
    const names = members.map(({label}) => label);
    const listed = names.length > 4 ? [...names.slice(0, 3), plural(names.length - 3, "more row")] : names;
    return {label: listed.length > 1 ? `${listed.slice(0, -1).join(", ")} and ${listed.at(-1)}, the same` : listed[0], points: members[0].points};
  });
}

/** Lines told apart by colour, sign and dashes, so that one that lies on another is seen. series: [{label, points: [{x, y}]}]; steps: [{x, label}] */
function lines(caption, x, unit, given, steps) {
  const series = merged(given);
  const shown = series.slice(0, SERIES.length);
  const marks = shown.flatMap(({label, points}, index) => [
    Plot.lineY(points, {x: "x", y: "y", stroke: SERIES[index], strokeWidth: 2.5 - 0.25 * index, strokeDasharray: DASHES[index], strokeOpacity: 0.8}),
    Plot.dot(points, {x: "x", y: "y", symbol: SYMBOLS[index], r: 5 - 0.6 * index, stroke: SERIES[index], strokeWidth: 1.5, title: (d) => `${label}: ${figure(d.y)}`}),
  ]);
  const rules = steps.map(({x: at}) => Plot.ruleX([at], {stroke: "var(--worse)", strokeDasharray: "4,3"}));
  const drawn = chart(caption, {height: 220, marginLeft: 70, x, y: {label: unit, grid: true, nice: true}, marks: [...rules, ...marks]});
  const key = el("ul", {class: "legend"}, shown.map(({label}, index) => el("li", {}, sign(index), label)));
  drawn.querySelector("figcaption").after(key);
  if (series.length > shown.length) key.append(el("li", {class: "soft"}, `and ${plural(series.length - shown.length, "more series")}, in the table below`));
  return drawn;
}

/** The sign of a series, for a legend. */
function sign(index) {
  const symbols = [d3.symbolCircle, d3.symbolSquare, d3.symbolTriangle, d3.symbolDiamond, d3.symbolStar, d3.symbolCross];
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  for (const [name, value] of Object.entries({width: 12, height: 12, viewBox: "-6 -6 12 12", "aria-hidden": "true"})) svg.setAttribute(name, value);
  path.setAttribute("d", d3.symbol(symbols[index], 55)());
  path.setAttribute("fill", "none");
  path.setAttribute("stroke", SERIES[index]);
  path.setAttribute("stroke-width", "1.5");
  svg.append(path);
  return svg;
}
