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

/** The columns of the table as `Table` takes them; a row is its index. */
function zooColumns() {
  const verdicts = data("page").verdicts;
  const columns = data("columns").map((column, place) => {
    const text = column.numeric ? (row) => column.texts[row] : (row) => column.texts[column.codes[row]];
    const cell = place === 0 ? (row) => modelLink(text(row)) : column.header === "status" ? (row) => statusTag(text(row)) : undefined;
    return {header: column.header, numeric: column.numeric, text, value: column.numeric ? (row) => column.values[row] : text, cell, source: column};
  });
  if (verdicts) columns.splice(1, 0, verdictColumn(verdicts));
  return columns;
}

/** The worst that the comparison says of each row; sorts by how bad it is, worst first. */
function verdictColumn(verdicts) {
  const order = Object.keys(data("page").tones);
  const value = (row) => (verdicts[row] ? order.indexOf(verdicts[row]) : null);
  return {header: "verdict", text: (row) => verdicts[row] || "-", value, cell: (row) => verdictTag(verdicts[row])};
}

const statusTag = (status) => el("span", {class: `tag ${status === "ok" ? "plain" : "worse"}`}, status === "ok" ? "ok" : `\u2715 ${status}`);

function verdictTag(verdict) {
  const {sign: mark, tone} = data("page").tones[verdict] ?? {sign: "", tone: "plain"};
  return el("span", {class: `tag ${tone}`}, verdict ? `${mark} ${verdict}` : "-");
}

/** The zoo's table: columns that are empty in every row are left out, and named. */
function startZoo() {
  const all = zooColumns();
  const count = data("page").rows;
  const rows = d3.range(count);
  const empty = (column) => count && (column.source?.texts ?? []).every((text) => text === "-") && column.source;
  const columns = all.filter((column) => !empty(column));
  const table = new Table({caption: "Every model of the run, a row for each variant", columns, rows, page: 100, className: "zoo fixed"});
  const place = document.getElementById("zoo-table");
  place.append(table.element);
  const left = all.filter(empty).map((column) => column.header);
  if (left.length) place.append(el("p", {class: "soft"}, `Empty in every row, and left out: ${left.join(", ")}.`));
  startFilters(table, columns, rows);
}

/** A search field over all of a row, and a choice for each column of few words. */
function startFilters(table, columns, rows) {
  const texts = rows.map((row) => columns.map((column) => column.text(row)).join("\u0000").toLowerCase());
  const search = el("input", {type: "search", id: "filter", autocomplete: "off", placeholder: "words, such as: qwen on failed"});
  const choices = columns.filter((column, place) => place && !column.numeric).map((column) => choice(column, rows)).filter(Boolean);
  const apply = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = choices.filter(({select}) => select.value);
    table.filter(words.length || chosen.length
      ? (row) => words.every((word) => texts[row].includes(word)) && chosen.every(({select, column}) => column.text(row) === select.value) : null);
  };
  const reset = el("button", {type: "button", onclick: () => {
    search.value = "";
    for (const {select} of choices) select.value = "";
    apply();
  }}, "Clear");
  search.addEventListener("input", apply);
  for (const {select} of choices) select.addEventListener("change", apply);
  document.getElementById("zoo-controls").append(el("label", {}, "Filter", search), ...choices.map(({column, select}) => el("label", {}, column.header, select)), reset);
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
