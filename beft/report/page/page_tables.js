// The tables that stand in the page: sorting, filtering, copying, and best or last epoch.

const FORMATS = { tex: "LaTeX", md: "Markdown", csv: "CSV" };

// Sorting
document.querySelectorAll("table.sortable").forEach((table) => {
  const heads = [...table.tHead.rows[0].cells];
  const key = (row, i) => {
    const text = (row.cells[i].querySelector(".value") ?? row.cells[i]).textContent.trim();
    const number = parseFloat(text);
    return Number.isNaN(number) ? (/[\p{L}\d]/u.test(text) ? text : null) : number;
  };
  heads.forEach((head, i) => {
    const sort = button("", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...table.tBodies[0].rows].map((row) => [key(row, i), row]);
      const mixed = rows.some(([x]) => typeof x === "number");
      // cells without a number stay at the end, whichever way the others run
      const value = (x) => (mixed && typeof x !== "number" ? null : x);
      rows.sort(([a], [b]) => compare(value(a), value(b), up));
      rows.forEach(([, row]) => table.tBodies[0].append(row));
      table.classList.add("flat");
    });
    sort.append(...head.childNodes);
    head.append(sort);
  });
});

// Best or last epoch
function showEpoch(epoch) {
  document.querySelectorAll("[data-epoch]").forEach((part) => (part.hidden = part.dataset.epoch !== epoch));
  document.documentElement.dataset.shown = epoch;
}
const shownEpoch = () => document.documentElement.dataset.shown;

function startSwitch() {
  const choices = document.querySelector(".switch");
  choices.hidden = false;
  choices.addEventListener("change", (event) => {
    showEpoch(event.target.value);
    say(`Numbers from the ${event.target.value} epoch of each run`);
  });
  showEpoch(choices.querySelector(":checked").value);
}

// Filters and copies
function tools(section) {
  const bar = section.querySelector(".tools");
  if (!bar) return;
  const tables = [...section.querySelectorAll("table.sortable")];
  const leading = (table) => Number(table.dataset.leading);
  // a line break stands for an underscore; `innerText` would lay out the whole page to see it
  const header = (cell) => [...cell.firstChild.childNodes].map((node) => (node.nodeName === "BR" ? "_" : node.textContent)).join("");
  const named = (cell) => cell.dataset.name ?? cell.textContent.trim(); // b_v, which is set as an index
  const title = section.querySelector("h3").textContent;
  const state = { text: "", part: "", column: "", names: {} };
  const said = make("span", { class: "said", role: "status" });
  const choice = (label, options, change) => options.length < 2 ? null : make("label", {}, `${label} `,
    make("select", { "aria-label": `Filter by ${label}: ${title}`, onchange: (event) => { change(event.target.value); apply(); } },
      make("option", { value: "" }, "all"), options.map((name) => make("option", { value: name }, name))));
  const distinct = (list) => [...new Set(list)];
  const first = tables[0], heads = [...first.tHead.rows[0].cells].map(header);
  const leads = heads.slice(0, leading(first)).map((name, i) => {
    const found = tables.flatMap((table) => [...table.tBodies[0].rows].map((row) => named(row.cells[i])));
    return choice(name, distinct(found), (value) => (state.names[i] = value));
  });
  const columns = distinct(tables.flatMap((t) => [...t.tHead.rows[0].cells].slice(leading(t)).map(header)));

  function apply() {
    let shown = 0, all = 0;
    for (const table of tables) {
      const here = !state.part || table.dataset.part === state.part;
      const off = [...table.tHead.rows[0].cells].map((cell, i) =>
        i >= leading(table) && state.column !== "" && header(cell) !== state.column);
      let left = 0;
      for (const row of table.tBodies[0].rows) {
        const names = [...row.cells].slice(0, leading(table)).map(named);
        const words = `${table.dataset.part} ${names.join(" ")} ${row.textContent}`.toLowerCase();
        const chosen = Object.entries(state.names).every(([i, name]) => !name || names[i] === name);
        row.hidden = !(here && chosen && words.includes(state.text));
        left += !row.hidden;
      }
      for (const row of [table.tHead.rows[0], ...table.tBodies[0].rows])
        [...row.cells].forEach((cell, i) => (cell.hidden = off[i]));
      table.closest(".scroll").hidden = left === 0;
      table.classList.toggle("filtered", left < table.tBodies[0].rows.length);
      if (!table.closest("[data-epoch]")?.hidden) [shown, all] = [shown + left, all + table.tBodies[0].rows.length];
    }
    said.textContent = shown < all ? `${shown} of ${all} rows` : "";
  }

  const copies = Object.entries(FORMATS).map(([suffix, name]) => button(`Copy ${name}`, () => {
    const both = texts[section.dataset.table], epoch = both.any ? "any" : shownEpoch();
    copy(both[epoch][suffix], `${name} of the table${both.any ? "" : `, ${epoch} epoch,`}`);
  }, { "data-copy": suffix, "aria-label": `Copy as ${name}: ${title}` }));
  bar.append(
    make("input", { type: "search", placeholder: "Filter rows", "aria-label": `Filter rows: ${title}`,
      oninput: (event) => { state.text = event.target.value.trim().toLowerCase(); apply(); } }),
    ...[choice("model", distinct(tables.map((t) => t.dataset.part)), (value) => (state.part = value)), ...leads,
      choice("column", columns, (value) => (state.column = value))].filter(Boolean),
    said, make("span", { class: "copies" }, copies));
  bar.hidden = false;
}

startSwitch();
document.querySelectorAll("section.table").forEach(tools);
document.querySelectorAll(".scripted").forEach((part) => (part.hidden = false));
