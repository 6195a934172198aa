// The page: theme, the zoo's table with its filters, the models' sections.

const THEMES = ["system", "light", "dark"];

/** The theme chosen before; a browser may refuse storage to a file. */
function storedTheme(write) {
  try {
    if (write) localStorage.setItem("ane-harness-theme", write);
    return localStorage.getItem("ane-harness-theme");
  } catch {
    return null;
  }
}

function setTheme(theme) {
  if (theme === "system") document.documentElement.removeAttribute("data-theme");
  else document.documentElement.dataset.theme = theme;
  const button = document.getElementById("theme");
  button.textContent = `Theme: ${theme}`;
  button.value = theme;
}

function startTheme() {
  const stored = storedTheme();
  setTheme(THEMES.includes(stored) ? stored : "system");
  document.getElementById("theme").addEventListener("click", ({target}) => {
    const next = THEMES[(THEMES.indexOf(target.value) + 1) % THEMES.length];
    storedTheme(next);
    setTheme(next);
  });
}

const DECIDING = ["model", "variant", "norms", "rel L2", "outcome", "status"];
const TOLD_BY_VARIANT = ["lowering", "shape", "compression", "checkpoint"];
const PIXELS_A_SIGN = 7.4;
const PADDING = 20;

/** The columns of the table as `Table` takes them, those that decide first; a row is its index. */
function zooColumns() {
  const verdicts = data("page").verdicts;
  const columns = data("columns").map((column) => {
    const text = column.numeric ? (row) => column.texts[row] : (row) => column.texts[column.codes[row]];
    const cell = {model: (row) => modelLink(text(row)), status: (row) => statusTag(text(row)), outcome: (row) => outcomeTag(text(row), data("details").records[row].status)}[column.header];
    return {header: column.header, numeric: column.numeric, priority: column.priority, text, value: column.numeric ? (row) => column.values[row] : text, cell, source: column};
  });
  const place = ({header}) => (DECIDING.includes(header) ? DECIDING.indexOf(header) : DECIDING.length);
  const ordered = d3.sort(columns, place);
  if (verdicts) ordered.splice(DECIDING.length, 0, verdictColumn(verdicts));
  return ordered;
}

const decides = ({header}) => DECIDING.includes(header);

/** The worst that the comparison says of each row; sorts by how bad it is, worst first. */
function verdictColumn(verdicts) {
  const order = Object.keys(data("page").tones);
  const value = (row) => (verdicts[row] ? order.indexOf(verdicts[row]) : null);
  return {header: "verdict", priority: 0.5, text: (row) => verdicts[row] || "-", value, cell: (row) => verdictTag(verdicts[row])};
}

const statusTag = (status) => el("span", {class: `tag ${status === "ok" ? "plain" : "worse"}`}, status === "ok" ? "ok" : `\u2715 ${status}`);

/** A bad outcome of a row that is ok, as of a variant that fuses nothing, is no alarm. */
const outcomeTag = (outcome, status) => el("span", {class: `tag ${outcome === "fine" ? "better" : outcome === "-" ? "plain" : status === "ok" ? "doubt" : "worse"}`}, outcome);

function verdictTag(verdict) {
  const {sign: mark, tone} = data("page").tones[verdict] ?? {sign: "", tone: "plain"};
  return el("span", {class: `tag ${tone}`}, verdict ? `${mark} ${verdict}` : "-");
}

/** The one text of a column in every row of several; null if rows differ. */
function constant(column, count) {
  if (!column.source || count < 2) return null;
  const {texts, codes} = column.source;
  const first = codes ? texts[codes[0]] : texts[0];
  return (codes ? texts.length === 1 : texts.every((text) => text === first)) ? first : null;
}

/** The columns that fit a width beside those that decide, in the order of their priority. */
function fitting(columns, width) {
  const own = (column) => PADDING + PIXELS_A_SIGN * Math.max(column.header.length + 2, d3.max(column.source?.texts ?? ["insufficient data"], (text) => Math.min(text.length, 32)));
  let left = width - d3.sum(columns.filter(decides), own);
  const chosen = new Set(columns.filter(decides));
  for (const column of d3.sort(columns.filter((one) => !decides(one)), ({priority}) => priority)) {
    if (own(column) > left) continue;
    left -= own(column);
    chosen.add(column);
  }
  return columns.filter((column) => chosen.has(column));
}

/** The zoo's table: what is the same in every row is one line below it, and a button shows what the width leaves out. */
function startZoo() {
  const count = data("page").rows;
  const rows = d3.range(count);
  const every = zooColumns();
  const same = every.filter((column) => !decides(column) && constant(column, count) !== null);
  const columns = every.filter((column) => !same.includes(column));
  const place = document.getElementById("zoo-table");
  let table = null;
  let accepts = null;
  const build = (shown) => {
    table = new Table({caption: "Every model of the run, a row for each variant", columns: saidByVariant(shown, columns), rows, page: 100, className: "zoo fixed"});
    if (accepts) table.filter(accepts);
    const hidden = columns.filter((column) => !shown.includes(column));
    const more = el("button", {type: "button", id: "all-columns", onclick: () => build(columns)}, `Show ${plural(hidden.length, "more column")}`);
    place.replaceChildren(table.element, ...(hidden.length ? [more] : []), ...sameInAll(same, count));
  };
  let shown = fitting(columns, place.clientWidth);
  build(shown);
  while (isTooWide(place) && shown.some((column) => !decides(column))) {
    const last = d3.least(shown.filter((column) => !decides(column)), (a, b) => b.priority - a.priority || shown.indexOf(b) - shown.indexOf(a));
    shown = shown.filter((column) => column !== last);
    build(shown);
  }
  startFilters((found) => {
    accepts = found;
    table.filter(found);
  }, columns, rows);
}

/** Whether a table must be scrolled sideways: text that is wider than was reckoned. */
function isTooWide(place) {
  const {scrollWidth, clientWidth} = place.querySelector(".scroll");
  return scrollWidth > clientWidth;
}

/** The columns shown; the variant's also says what hidden columns tell of it. */
function saidByVariant(shown, columns) {
  const hidden = columns.filter((column) => !shown.includes(column) && TOLD_BY_VARIANT.includes(column.header));
  if (!hidden.length) return shown;
  const more = (row) => hidden.map((column) => column.text(row)).filter((text) => text !== "-" && text !== "prefill").join(" ");
  return shown.map((column) => (column.header === "variant" ? {...column, cell: (row) => el("span", {}, column.text(row), more(row) ? el("small", {}, breakable(more(row))) : "")} : column));
}

/** A name that may be broken after an underscore. */
const breakable = (name) => name.split(/(?<=_)/).flatMap((part, place) => (place ? [el("wbr"), part] : [part]));

/** One line on the columns that have one value, and one on those that have none. */
function sameInAll(same, count) {
  const texts = same.map((column) => [column.header, constant(column, count)]);
  const held = texts.filter(([, text]) => text !== "-").map(([header, text]) => `${header} ${text}`);
  const empty = texts.filter(([, text]) => text === "-").map(([header]) => header);
  return [held.length ? el("p", {class: "soft"}, `The same in every row: ${held.join(", ")}.`) : null,
    empty.length ? el("p", {class: "soft"}, `Empty in every row, and left out: ${empty.join(", ")}.`) : null].filter(Boolean);
}

/** A search field over all of a row, and a choice for each column of few words. */
function startFilters(keep, columns, rows) {
  const texts = rows.map((row) => columns.map((column) => column.text(row)).join("\u0000").toLowerCase());
  const search = el("input", {type: "search", id: "filter", autocomplete: "off", placeholder: "words, such as: qwen on failed"});
  const choices = columns.filter((column, place) => place && !column.numeric).map((column) => choice(column, rows)).filter(Boolean);
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = choices.filter(({select}) => select.value);
    keep(words.length || chosen.length
      ? (row) => words.every((word) => texts[row].includes(word)) && chosen.every(({select, column}) => column.text(row) === select.value) : null);
  };
  const reset = el("button", {type: "button", onclick: () => {
    search.value = "";
    for (const {select} of choices) select.value = "";
    apply();
  }}, "Clear");
  search.addEventListener("input", apply);
  for (const {select} of choices) select.addEventListener("change", apply);
  const labels = choices.map(({column, select}) => el("label", {}, column.header, select));
  const narrow = window.matchMedia("(max-width: 40rem)").matches && labels.length;
  document.getElementById("zoo-controls").append(el("label", {}, "Filter", search),
    ...(narrow ? [el("details", {class: "more"}, el("summary", {}, "by column"), el("div", {class: "controls"}, labels))] : labels), reset);
}

function choice(column, rows) {
  const values = [...new Set(rows.map((row) => column.text(row)))].sort(collator.compare);
  if (values.length < 2 || values.length > Math.min(20, Math.max(6, rows.length / 4))) return null;
  const option = (value) => {
    const made = el("option", {}, value || "all");
    made.value = value;
    return made;
  };
  return {column, select: el("select", {}, option(""), values.map(option))};
}

/** The id that an address names; an address that is no valid one names none. */
function named(hash) {
  try {
    return decodeURIComponent(hash.slice(1));
  } catch {
    return "";
  }
}

/** A closed section a model; its body is built when it is first opened. */
function startModels() {
  const sections = new Map(data("page").models.map((model) => [modelId(model.model), modelSection(model)]));
  document.getElementById("model-list").append(...sections.values());
  const follow = (hash) => {
    const section = sections.get(named(hash));
    if (!section) return;
    section.build();
    section.open = true;
    section.querySelector("summary").focus({preventScroll: true});
    section.scrollIntoView();
  };
  window.addEventListener("hashchange", () => follow(location.hash));
  document.addEventListener("click", (event) => follow(event.target.closest?.("a[href^='#']")?.hash ?? ""));
  follow(location.hash);
}

function modelSection({model, summary, tone}) {
  const head = el("summary", {}, el("h3", {}, model), el("span", {class: `tag ${tone}`}, summary));
  const section = el("details", {class: "model", id: modelId(model)}, head);
  section.build = () => {
    if (section.childElementCount === 1) section.append(modelBody(rowsOf(model), model));
  };
  head.addEventListener("click", section.build);
  section.addEventListener("toggle", () => section.open && section.build()); // found by a search in the page, for example
  return section;
}

let rowsByModel = null;

function rowsOf(model) {
  rowsByModel ??= modelRows();
  return rowsByModel.get(model);
}

startTheme();
startZoo();
startModels();
document.documentElement.dataset.ready = "";
