// Learning curves: one line per run, drawn from the embedded history, and the same numbers as a table.

const CHART = { width: 440, height: 230, left: 52, right: 10, top: 10, bottom: 36 };
const DASHES = ["", "6 3", "2 3", "8 3 2 3"];
const SERIES = 6; // colours; beyond them lines differ by their dashes

// Round steps between two numbers, about four of them.
function ticks(low, high) {
  const rough = (high - low || Math.abs(high) || 1) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((x) => x * power).find((x) => x >= rough);
  const first = Math.ceil(low / step - 1e-9), count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: Math.max(count, 0) }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// `series`: [{label, points: [[epoch, value], ...]}], values that are not finite leave gaps.
function chart(title, series) {
  const points = series.flatMap((line) => line.points).filter(([, y]) => Number.isFinite(y));
  if (!points.length) return make("p", { class: "quiet" }, `${title}: nothing was recorded.`);
  const xs = points.map(([x]) => x), ys = points.map(([, y]) => y);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs, Math.min(...xs) + 1)];
  const pad = (Math.max(...ys) - Math.min(...ys)) * 0.06 || Math.abs(ys[0]) * 0.05 || 0.05;
  const [y0, y1] = [Math.min(...ys) - pad, Math.max(...ys) + pad];
  const right = CHART.width - CHART.right, low = CHART.height - CHART.bottom;
  const x = (v) => CHART.left + ((v - x0) / (x1 - x0)) * (right - CHART.left);
  const y = (v) => low - ((v - y0) / (y1 - y0)) * (low - CHART.top);
  const whole = ticks(x0, x1).filter(Number.isInteger);
  const marks = [
    ...ticks(y0, y1).flatMap((v) => [
      draw("line", { class: "rule", x1: CHART.left, x2: right, y1: y(v), y2: y(v) }),
      draw("text", { x: CHART.left - 6, y: y(v) + 4, "text-anchor": "end" }, brief(v))]),
    ...whole.map((v) => draw("text", { x: x(v), y: low + 16, "text-anchor": "middle" }, brief(v))),
    draw("line", { class: "axis", x1: CHART.left, x2: right, y1: low, y2: low }),
    draw("text", { x: (CHART.left + right) / 2, y: CHART.height - 4, "text-anchor": "middle" }, "epoch"),
  ];
  const lines = series.map((line, i) => {
    const good = line.points.filter(([, v]) => Number.isFinite(v));
    const path = good.map(([a, b], j) => `${j ? "L" : "M"}${x(a).toFixed(1)} ${y(b).toFixed(1)}`).join("");
    const dots = good.map(([a, b]) => draw("circle", { cx: x(a).toFixed(1), cy: y(b).toFixed(1), r: 2.4 },
      draw("title", {}, `${line.label}, epoch ${a}: ${b}`)));
    return draw("g", { class: `series s${i % SERIES}` },
      draw("path", { d: path, "stroke-dasharray": DASHES[Math.floor(i / SERIES) % DASHES.length] || null }), dots);
  });
  const svg = draw("svg", { viewBox: `0 0 ${CHART.width} ${CHART.height}`, role: "img",
    "aria-label": `${title} by epoch, from ${brief(Math.min(...ys))} to ${brief(Math.max(...ys))}; the numbers are in the table below` },
    marks, lines);
  return make("figure", { class: "chart" }, make("figcaption", {}, title), svg, legend(series), numbers(title, series));
}

function legend(series) {
  return make("ul", { class: "legend" }, series.map((line, i) => make("li", {},
    draw("svg", { viewBox: "0 0 24 8", class: `series s${i % SERIES}`, "aria-hidden": "true" },
      draw("path", { d: "M1 4L23 4", "stroke-dasharray": DASHES[Math.floor(i / SERIES) % DASHES.length] || null })),
    ` ${line.label}`)));
}

function numbers(title, series) {
  const epochs = [...new Set(series.flatMap((line) => line.points.map(([x]) => x)))].sort((a, b) => a - b);
  const known = series.map((line) => new Map(line.points));
  const head = (text) => make("th", { scope: "col" }, text);
  return make("details", {}, make("summary", {}, "The same numbers as a table"),
    make("div", { class: "scroll", role: "region", "aria-label": title, tabindex: 0 },
      make("table", {}, make("caption", {}, title),
        make("thead", {}, make("tr", {}, head("epoch"), series.map((line) => head(line.label)))),
        make("tbody", {}, epochs.map((epoch) => make("tr", {}, make("th", { scope: "row" }, String(epoch)),
          known.map((points) => make("td", {}, String(points.get(epoch) ?? "")))))))));
}
