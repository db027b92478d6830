// A frame as a table that sorts, filters and turns pages: 50 rows are drawn, however many there are.

const PAGE_ROWS = 50;
const FEW = 16; // distinct values of a column that is filtered by a choice

const csvCell = (value) => (/[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

function csvText(frame, names, rows) {
  const line = (i) => names.map((name) => csvCell(String(frame.column(name)[i] ?? ""))).join(",");
  return [names.join(","), ...rows.map(line), ""].join("\n");
}

// `text`, `>0.8`, `<= 3`, `=0.5`: what a column's filter accepts.
function test(wanted, exact) {
  if (exact) return (value) => brief(value) === wanted;
  const number = wanted.match(/^\s*(>=|<=|>|<|=)\s*(-?[\d.]+(?:e[+-]?\d+)?)\s*$/i);
  if (!number) return (value) => brief(value).toLowerCase().includes(wanted.trim().toLowerCase());
  const limit = Number(number[2]);
  const holds = { ">": (x) => x > limit, "<": (x) => x < limit, "=": (x) => x === limit,
    ">=": (x) => x >= limit, "<=": (x) => x <= limit }[number[1]];
  return (value) => typeof value === "number" && holds(value);
}

// Draws a frame into an element. `cells` has functions (value, row) -> node for single columns.
function grid(host, frame, { names, caption, file, cells = {} }) {
  const state = { sort: null, up: true, page: 0, rows: [], tests: {} };
  const body = make("tbody"), said = make("span", { class: "said", role: "status" });
  const numeric = {};
  const heads = names.map((name) => {
    const seen = frame.column(name);
    numeric[name] = seen.some((x) => typeof x === "number") && name !== "seed";
    return make("th", { scope: "col", class: numeric[name] ? "number" : null },
      button(name.replaceAll("_", " "), () => sortBy(name)));
  });
  const filters = names.map((name) => make("td", {}, filterOf(name)));
  const back = button("Previous", () => turn(-1)), on = button("Next", () => turn(1));
  const table = make("table", { class: "grid" }, make("caption", {}, `${caption} `, said),
    make("thead", {}, make("tr", {}, heads), make("tr", { class: "filters" }, filters)), body);
  const download = button("Download CSV", () => save(file, csvText(frame, names, state.rows)));
  host.replaceChildren(
    make("div", { class: "tools" }, back, on, download),
    make("div", { class: "scroll", role: "region", "aria-label": caption, tabindex: 0 }, table));

  function filterOf(name) {
    const distinct = [...new Set([...new Set(frame.column(name))].map(brief))];
    const change = (event, exact) => {
      const wanted = event.target.value;
      if (wanted.trim() === "") delete state.tests[name];
      else state.tests[name] = test(wanted, exact);
      select();
    };
    const label = `Filter by ${name}`;
    if (distinct.length > FEW || numeric[name] && distinct.length > 6)
      return make("input", { type: "search", "aria-label": label, placeholder: numeric[name] ? "> 0.5" : "filter",
        size: 6, oninput: (event) => change(event, false) });
    const choices = distinct.filter((word) => word !== "").sort(collator.compare);
    return make("select", { "aria-label": label, onchange: (event) => change(event, true) },
      make("option", { value: "" }, "all"), choices.map((word) => make("option", { value: word }, word)));
  }

  function sortBy(name) {
    state.up = state.sort === name ? !state.up : true;
    state.sort = name;
    heads.forEach((head, i) => {
      if (names[i] === name) head.setAttribute("aria-sort", state.up ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    select();
  }

  function select() {
    const tests = Object.entries(state.tests).map(([name, holds]) => [frame.column(name), holds]);
    state.rows = [];
    for (let i = 0; i < frame.rows; i++) if (tests.every(([column, holds]) => holds(column[i]))) state.rows.push(i);
    if (state.sort !== null) {
      const column = frame.column(state.sort);
      state.rows.sort((a, b) => compare(column[a], column[b], state.up));
    }
    state.page = 0;
    show();
  }

  function turn(by) {
    state.page += by;
    show();
  }

  function show() {
    const start = state.page * PAGE_ROWS, part = state.rows.slice(start, start + PAGE_ROWS);
    body.replaceChildren(...part.map((i) => make("tr", {}, names.map((name) => {
      const value = frame.column(name)[i];
      const exact = typeof value === "number" && brief(value) !== String(value) ? String(value) : null;
      return make("td", { class: numeric[name] ? "number" : null, title: exact }, cells[name] ? cells[name](value, i) : brief(value));
    }))));
    const count = state.rows.length.toLocaleString("en"), all = frame.rows.toLocaleString("en");
    const shown = part.length ? `${start + 1} to ${start + part.length} of ${count}` : "no row";
    said.textContent = state.rows.length === frame.rows ? shown : `${shown} (${all} without filter)`;
    back.disabled = state.page === 0;
    on.disabled = start + PAGE_ROWS >= state.rows.length;
  }

  select();
}
