// A table that sorts, filters, and shows as many rows as were asked for: the rest is neither built nor laid out.

/**
 * columns: [{header, numeric, text(row), value(row), cell(row)}]; `value` is what sorts (null comes last, whichever way),
 * `cell`, where given, builds the cell's content. rows: any values; they stand in the order given until one sorts.
 */
class Table {
  constructor({caption, columns, rows, page = 100, className = ""}) {
    Object.assign(this, {columns, rows, page, shown: page, sorted: null, descending: false, accepts: null});
    this.head = columns.map((column, index) => this.heading(column, index));
    this.body = el("tbody");
    this.status = el("span", {role: "status", "aria-live": "polite"});
    this.more = el("button", {type: "button", onclick: () => this.show(this.shown + 5 * this.page)});
    this.all = el("button", {type: "button", onclick: () => this.show(Infinity)}, "Show all");
    const table = el("table", {class: className}, el("caption", {}, caption), el("thead", {}, el("tr", {}, this.head)), this.body);
    this.element = el("div", {}, el("div", {class: "scroll", role: "group", "aria-label": caption, tabindex: 0}, table),
      el("div", {class: "pager"}, this.status, this.more, this.all));
    this.update();
  }

  heading(column, index) {
    const button = el("button", {type: "button", onclick: () => this.sort(index)}, column.header, el("span", {class: "arrow", "aria-hidden": "true"}));
    return el("th", {scope: "col", "aria-sort": "none", class: column.numeric ? "number" : null}, button);
  }

  /** Sort by a column: ascending first, then the other way round. */
  sort(index, descending = this.sorted === index && !this.descending) {
    Object.assign(this, {sorted: index, descending});
    this.head.forEach((heading, place) => {
      const active = place === index;
      heading.setAttribute("aria-sort", active ? (descending ? "descending" : "ascending") : "none");
      heading.querySelector(".arrow").textContent = active ? (descending ? "\u25be" : "\u25b4") : "";
    });
    this.update();
  }

  /** Keep the rows that a function accepts. */
  filter(accepts) {
    this.accepts = accepts;
    this.shown = this.page;
    this.update();
  }

  show(count) {
    const from = this.body.rows.length;
    this.shown = count;
    this.fill(from);
    if (this.more.hidden) this.element.firstChild.focus();
  }

  update() {
    this.chosen = this.accepts ? this.rows.filter(this.accepts) : this.rows.slice();
    if (this.sorted !== null) this.order(this.columns[this.sorted]);
    this.body.replaceChildren();
    this.fill(0);
  }

  order(column) {
    const sign = this.descending ? -1 : 1;
    const keyed = this.chosen.map((row) => [column.value(row), row]);
    const lacks = (value) => value === null || value === undefined || value === "-";
    keyed.sort(([a], [b]) => {
      if (lacks(a) || lacks(b)) return lacks(a) - lacks(b);
      return sign * (typeof a === "number" && typeof b === "number" ? a - b : collator.compare(a, b));
    });
    this.chosen = keyed.map(([, row]) => row);
  }

  fill(from) {
    const rows = this.chosen.slice(from, this.shown);
    this.body.append(...rows.map((row) => this.row(row)));
    const total = this.chosen.length;
    const left = Math.max(0, total - this.shown);
    if (!total) this.body.append(el("tr", {}, el("td", {colspan: this.columns.length, class: "soft"}, this.rows.length ? "No row matches the filter." : "No rows.")));
    const found = total === this.rows.length ? plural(total, "row") : `${whole.format(total)} of ${plural(this.rows.length, "row")}`;
    this.status.textContent = left ? `${found}, the first ${whole.format(this.shown)} shown` : found;
    this.more.textContent = `Show ${whole.format(Math.min(left, 5 * this.page))} more`;
    this.more.hidden = this.all.hidden = !left;
    this.status.hidden = !left && this.rows.length <= this.page && !this.accepts;
  }

  row(row) {
    return el("tr", {}, this.columns.map((column, index) => el(index ? "td" : "th", {
      scope: index ? null : "row", class: column.numeric ? "number" : column.words ? "words" : null,
    }, column.cell ? column.cell(row) : index ? column.text(row) : el("span", {}, column.text(row)))));
  }
}

/** A column that reads one field of a row's object; numbers as `figure` writes them. */
function field(header, read, more = {}) {
  const text = (row) => (more.numeric ? figure(read(row)) : read(row) ?? "-");
  return {header, text, value: (row) => read(row) ?? null, ...more};
}
