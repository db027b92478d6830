"""One picture of what was measured: ratios to the peers, cost by runs per pack and by examples."""

from pathlib import Path

from beft.report.figures.style import explain, render, sheet, style
from beft.store.files import write_file
from benchmarks import measure
from benchmarks.measure import load

OURS, PEER, FLOOR = "#D55E00", "#0072B2", "#777777"


def draw() -> Path:
    """Writes results/engine.png from results/*.json."""
    with style():
        figure, axes = sheet(1, 3, 2.9)
        _ratios(axes[0, 0], load("engine")["rows"])
        _packs(axes[0, 1], load("packs"))
        _examples(axes[0, 2], load("packs"))
        files = render(figure)
    path = measure.RESULTS / "engine.png"
    write_file(path, files["png"])
    return path


def _ratios(axes, rows: list[dict]) -> None:
    if not rows:
        return explain(axes, "not measured")
    names = [row["case"].replace("_", " ") for row in rows][::-1]
    ratios = [row["ratio"] for row in rows][::-1]
    axes.barh(names, ratios, color=OURS, height=0.6)
    for place, ratio in enumerate(ratios):
        axes.text(ratio, place, f" {ratio:.1f}×", va="center", fontsize=8.5)
    axes.axvline(1, color=FLOOR, linewidth=0.8)
    axes.set_xlim(0, max(ratios) * 1.25)
    axes.set_xlabel("times as fast as the peer")
    axes.grid(axis="y", visible=False)


def _packs(axes, results: dict) -> None:
    rows = [r for r in results["rows"] if r["case"].startswith("pack_")]
    if not rows:
        return explain(axes, "not measured")
    counts = [int(r["case"].removeprefix("pack_")) for r in rows]
    axes.plot(counts, [r["seconds_per_run"] for r in rows], "o-", color=OURS, label="ours")
    axes.axhline(
        results["floor_seconds"][results["precision"]], color=FLOOR, linestyle="--", label="floor"
    )
    axes.set_xscale("log", base=2)
    axes.set_xticks(counts, [str(c) for c in counts])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("runs per pack")
    axes.set_ylabel("seconds per run")
    axes.legend()


def _examples(axes, results: dict) -> None:
    rows = [r for r in results["rows"] if r["case"].startswith("examples_")]
    if not rows:
        return explain(axes, "not measured")
    counts = [int(r["case"].removeprefix("examples_")) for r in rows]
    for key, colour, marker, label in (
        ("peer_seconds", PEER, "s-", "Trainer + PEFT"),
        ("ours_seconds", OURS, "o-", "ours, one run"),
    ):
        axes.plot(counts, [r[key] for r in rows], marker, color=colour, label=label)
    axes.set_ylim(0, 1.3 * max(r["peer_seconds"] for r in rows))
    axes.set_xlabel("training examples")
    axes.set_ylabel("seconds of an epoch")
    axes.legend()
