// From a number to its runs: a dialog with results, curves, settings and provenance; all runs; routes.

const KEYS = ["model", "task", "regime", "technique"];
const RESULT = ["seed", "status", "best", "last", "learning_rate", "epochs", "train_examples", "train_seconds", "peak_memory_mb", "digest"];
const MOST_CURVES = 12; // lines that can be told apart
const dialog = document.getElementById("cell");

const link = (digest) => make("a", { href: `#run=${encodeURIComponent(digest)}`, class: "code" }, digest);
const cellAddress = (place) => `#cell=${place.map((part) => encodeURIComponent(part)).join("/")}`;

// The runs of a place (empty: of any), in the order of runs.csv.
function runsAt(place) {
  const columns = KEYS.map((key) => runs.column(key).map(String));
  const found = [];
  for (let i = 0; i < runs.rows; i++)
    if (place.every((part, k) => part === "" || columns[k][i] === part)) found.push(run(i));
  return found;
}

// What tells these runs apart in words: their seed, and what else differs.
function labels(found) {
  const differing = [...KEYS, "seed", "learning_rate", "epochs"].filter((key) =>
    key === "seed" || new Set(found.map((r) => r[key])).size > 1);
  return found.map((r) => differing.map((key) => (KEYS.includes(key) ? r[key] : `${key.replace("_", " ")} ${r[key]}`)).join(", "));
}

function results(found) {
  const other = KEYS.filter((key) => new Set(found.map((r) => r[key])).size > 1);
  const names = [...other, ...RESULT], seen = new Set();
  const rows = found.map((r) => {
    const key = JSON.stringify([...KEYS.map((k) => r[k]), r.seed]), counted = !seen.has(key);
    seen.add(key);
    const reason = rowsOf("problems", r.digest).map((p) => p.reason).join("; ");
    const state = `${r.status}${reason ? `: ${reason}` : ""}${counted ? "" : " (other settings: not in the tables)"}`;
    return make("tr", {}, names.map((name) =>
      name === "digest" ? make("td", {}, link(r.digest))
      : name === "status" ? make("td", { class: r.status === "ok" ? null : "problem" }, state)
      : make("td", { class: typeof r[name] === "number" ? "number" : null, title: String(r[name] ?? "") }, brief(r[name]))));
  });
  return make("div", { class: "scroll", role: "region", "aria-label": "Results of the runs", tabindex: 0 },
    make("table", { class: "text" }, make("caption", {}, found.length === 1 ? "The run" : `${found.length} runs`),
      make("thead", {}, make("tr", {}, names.map((name) => make("th", { scope: "col", class: typeof found[0][name] === "number" ? "number" : null }, name.replaceAll("_", " "))))),
      make("tbody", {}, rows)));
}

function curves(found) {
  if (found.length > MOST_CURVES)
    return make("p", { class: "quiet" }, `Curves are shown of up to ${MOST_CURVES} runs: open a run or a single cell.`);
  const names = labels(found), lines = new Map();
  const add = (title, label, point) => {
    if (!lines.has(title)) lines.set(title, new Map());
    const chart = lines.get(title);
    if (!chart.has(label)) chart.set(label, []);
    chart.get(label).push(point);
  };
  found.forEach((r, i) => {
    const rows = rowsOf("history", r.digest), splits = [...new Set(rows.map((row) => row.split))];
    rows.forEach((row) => add(`${row.metric}, ${row.split}`, names[i], [row.epoch, row.value]));
    rows.filter((row) => row.split === splits[0]).forEach((row) => add("training loss", names[i], [row.epoch, row.train_loss]));
  });
  if (!lines.size) return make("p", { class: "quiet" }, "No epoch was recorded.");
  const charts = [...lines].map(([title, byRun]) => chart(title, [...byRun].map(([label, points]) => ({ label, points }))));
  return make("div", { class: "charts" }, charts);
}

function evaluations(found) {
  const names = labels(found), all = frames.evaluations.names.filter((n) => n !== "digest");
  const columns = all.filter((c) => found.some((r) => rowsOf("evaluations", r.digest).some((e) => e[c] !== null)));
  const rows = found.flatMap((r, i) => rowsOf("evaluations", r.digest).map((e) => [names[i], ...columns.map((c) => e[c])]));
  if (!rows.length || found.length > MOST_CURVES) return null;
  return make("details", {}, make("summary", {}, "Every metric on every validation split"),
    make("div", { class: "scroll", role: "region", "aria-label": "Evaluations", tabindex: 0 },
      make("table", { class: "text" }, make("caption", {}, "Evaluations"),
        make("thead", {}, make("tr", {}, ["run", ...columns].map((n) => make("th", { scope: "col" }, n.replaceAll("_", " "))))),
        make("tbody", {}, rows.map((row) => make("tr", {}, row.map((v) => make("td", {}, v === null ? "" : String(v)))))))));
}

function tree(value) {
  if (value === null) return make("span", { class: "quiet" }, "not set");
  if (Array.isArray(value)) return value.length ? value.map((v) => (v !== null && typeof v === "object" ? JSON.stringify(v) : String(v))).join(", ") : "none";
  if (typeof value !== "object") return String(value);
  const entries = Object.entries(value);
  return entries.length ? make("dl", {}, entries.map(([key, item]) => make("div", {}, make("dt", {}, key), make("dd", {}, tree(item)))))
    : make("span", { class: "quiet" }, "none");
}

// One line per fact: its value where all runs agree, else each value with the runs that have it.
function facts(found, rows, names) {
  const told = labels(found), lines = names.map((name) => {
    const by = new Map();
    rows.forEach((row, i) => {
      const value = row?.[name] ?? null, text = value === null || value === "" ? "not recorded" : String(value);
      by.set(text, [...(by.get(text) ?? []), told[i]]);
    });
    const who = (all) => (all.length > 4 ? `${all.length} runs` : all.join("; "));
    const shown = by.size === 1 ? [...by.keys()] : [...by].map(([text, all]) => make("div", {}, `${text} `, make("span", { class: "quiet" }, `(${who(all)})`)));
    const digests = found.map((r) => r.digest), plural = found.length > 1 ? "s" : "";
    const copies = name === "digest" ? button(`Copy digest${plural}`, () => copy(digests.join("\n"), `Digest${plural}`)) : "";
    return make("div", {}, make("dt", {}, name.replaceAll("_", " ")), make("dd", {}, shown, " ", copies));
  });
  return make("dl", { class: "facts" }, lines);
}

function settingsOf(found) {
  const all = data.settings, pick = (part, key) =>
    Object.fromEntries([...new Set(found.map((r) => r[key]))].filter((n) => all[part]?.[n] !== undefined).map((n) => [n, all[part][n]]));
  return tree({ model: pick("models", "model"), task: pick("tasks", "task"), training: all.training ?? {}, "of this study": all.overrides ?? {} });
}

function view(title, found, above) {
  const section = (name, ...parts) => make("section", {}, make("h3", {}, name), ...parts);
  const columns = runs.names.filter((name) => !["best", "last", "status", ...(found.length > 1 ? ["seed"] : [])].includes(name));
  const origins = found.map((r) => rowsOf("provenance", r.digest)[0]);
  dialog.replaceChildren(
    make("div", { class: "head" }, make("h2", { id: "cell-title", tabindex: -1 }, title),
      button("Close", () => dialog.close(), { class: "close" })),
    make("p", {}, above ?? ""),
    ...(found.length ? [
      results(found),
      section("Learning curves", curves(found), evaluations(found)),
      section("Settings", facts(found, found, columns), make("details", {}, make("summary", {}, "The definitions that the study took them from"), settingsOf(found))),
      section("Provenance", facts(found, origins, frames.provenance.names.filter((n) => n !== "digest"))),
    ] : [make("p", { class: "problem" }, "There is no such run in this study.")]));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  dialog.querySelector("#cell-title").focus();
}

// Routes: #run=digest (or its beginning), #cell=model/task/regime/technique
function route() {
  const [, kind, rest] = location.hash.match(/^#(run|cell)=(.*)$/) ?? [];
  if (!kind) return dialog.open && dialog.close();
  let parts;
  try {
    parts = rest.split("/").map(decodeURIComponent);
  } catch {
    parts = [rest];
  }
  if (kind === "cell") {
    const found = runsAt(parts);
    return view(parts.filter(Boolean).join(" · "), found, "The runs behind this number, in the order of runs.csv; values as fractions, rounded here, whole in their tooltips.");
  }
  const place = parts[0] ? runs.column("digest").findIndex((digest) => String(digest).startsWith(parts[0])) : -1;
  const found = place < 0 ? [] : [run(place)], cell = KEYS.map((key) => String(found[0]?.[key] ?? ""));
  view(place < 0 ? parts[0] : `${cell.join(" · ")}, seed ${found[0].seed}`, found,
    place < 0 ? null : [make("a", { href: cellAddress(cell) }, "All runs of this cell")]);
}

let opener = null;
document.addEventListener("click", (event) => {
  const from = event.target.closest?.("a[href^='#cell='], a[href^='#run=']");
  if (!from) return;
  if (!dialog.contains(from)) opener = from;
  // the same address twice is no change of it
  if (from.getAttribute("href") === location.hash) route();
});
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
dialog.addEventListener("close", () => {
  const { scrollX, scrollY } = window;
  if (/^#(run|cell)=/.test(location.hash)) {
    try {
      history.replaceState(null, "", location.pathname + location.search);
    } catch {
      location.hash = "";
    }
  }
  window.scrollTo({ left: scrollX, top: scrollY, behavior: "instant" });
  opener?.isConnected && opener.focus({ preventScroll: true });
});
window.addEventListener("hashchange", route);

// All runs, and the numbers of figures
const host = document.getElementById("all-runs");
if (host) {
  grid(host, runs, { names: data.listed, caption: "All runs", file: "runs.csv", cells: { digest: link } });
}
document.querySelectorAll("details.numbers").forEach((part) => part.addEventListener("toggle", () => {
  if (!part.open || part.querySelector("table")) return;
  const name = part.dataset.figure, frame = opened(data.figures[name]), room = make("div");
  part.append(room);
  grid(room, frame, { names: frame.names, caption: `The numbers of ${name}`, file: `${name}.csv` });
}));

route();
