"use strict";
// One figure for each precision; its panels are the numbers of tokens, its lines the lowerings.

const costs = JSON.parse(document.getElementById("data").textContent).map((one) => ({
  ...one, median: one.median_s * 1e6, low: one.low_s * 1e6, high: one.high_s * 1e6,
}));
const COLORS = ["#4269d0", "#c2770c", "#d6454f", "#2f9c8f", "#6a994e", "#a463c2", "#9c6b4e", "#777777"];
const lowerings = [...new Set(costs.map((one) => one.lowering))];
const tokens = [...new Set(costs.map((one) => one.tokens))].sort((a, b) => a - b);
const widths = [...new Set(costs.map((one) => one.width))].sort((a, b) => a - b);

/** A square of a lowering's colour beside its name. */
function entry(lowering, place) {
  const square = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [name, value] of [["width", 12], ["height", 12], ["aria-hidden", "true"]]) square.setAttribute(name, value);
  const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  for (const [name, value] of [["width", 12], ["height", 12], ["fill", COLORS[place % COLORS.length]]]) box.setAttribute(name, value);
  square.append(box);
  const item = document.createElement("li");
  item.append(square, ` ${lowering}`);
  return item;
}

function panels(precision) {
  const shown = costs.filter((one) => one.precision === precision).sort((a, b) => a.width - b.width);
  const caption = document.createElement("figcaption");
  caption.textContent = precision;
  const svg = Plot.plot({
    className: "chart", ariaLabel: precision, width: 140 + 260 * tokens.length, height: 300, marginLeft: 60,
    fx: {domain: tokens, label: "tokens"}, color: {domain: lowerings, range: lowerings.map((_, place) => COLORS[place % COLORS.length])},
    x: {type: "log", domain: [widths[0], widths.length > 1 ? widths.at(-1) : widths[0] * 2], ticks: widths, label: "width", tickFormat: (width) => width.toLocaleString("en")},
    y: {label: "microseconds", grid: true, zero: true, nice: true},
    marks: [
      Plot.areaY(shown, {fx: "tokens", x: "width", y1: "low", y2: "high", fill: "lowering", fillOpacity: 0.15}),
      Plot.line(shown, {fx: "tokens", x: "width", y: "median", stroke: "lowering"}),
      Plot.dot(shown, {fx: "tokens", x: "width", y: "median", fill: "lowering", r: 3, title: (one) => `${one.lowering}, ${one.width} wide: ${one.median.toFixed(1)} us`}),
    ],
  });
  for (const style of svg.querySelectorAll("style")) style.remove(); // the policy refuses them; they stand in the page's own
  svg.setAttribute("role", "img");
  const figure = document.createElement("figure");
  figure.append(caption, svg);
  return figure;
}

document.getElementById("legend").append(...lowerings.map(entry));
document.getElementById("panels").append(...[...new Set(costs.map((one) => one.precision))].sort().map(panels));
