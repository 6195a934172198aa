// Elements, text and numbers. Records are text of unknown origin: they reach the page through text nodes alone.
"use strict";

// What Python's str.isprintable() refuses, but for line ends and tabs: the same as harness/report/text.py shows escaped.
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]|[^\S \n\t]/gu;

/** Text with its control characters, those that turn the direction of writing among them, shown as JSON escapes them. */
function visible(value) {
  return String(value).replace(UNPRINTABLE, (found) => found === "\n" || found === "\t" ? found
    : found.replace(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`));
}

/** A new element; attributes that are null are left out, children that are no nodes become text. */
function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : visible(value));
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === "") continue;
    element.append(child instanceof Node ? child : visible(child));
  }
  return element;
}

const embedded = new Map();

/** The data of a script element, parsed when first asked for. */
function data(id) {
  if (!embedded.has(id)) embedded.set(id, JSON.parse(document.getElementById(id).textContent));
  return embedded.get(id);
}

const whole = new Intl.NumberFormat("en", {maximumFractionDigits: 0});

/** A number with the digits that tell something: 4 of them, an exponent where zeros would hide it, what lacks to 1 near 1. */
function figure(value) {
  if (value === null || value === undefined) return "-";
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value)) return whole.format(value);
  if (value > 0.999 && value < 1) return `1 \u2212 ${(1 - value).toExponential(1)}`;
  const size = Math.abs(value);
  return size >= 1e5 || size < 1e-3 ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

const plural = (count, thing) => `${whole.format(count)} ${thing}${count === 1 ? "" : "s"}`;

const collator = new Intl.Collator("en", {numeric: true});

const modelId = (model) => `model-${model}`;

/** A link to a model's section. */
function modelLink(model) {
  return el("a", {href: `#${encodeURIComponent(modelId(model))}`}, model);
}
