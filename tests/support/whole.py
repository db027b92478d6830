"""A small project all of whose files follow from its recipes, byte for byte, however often made.

Each of its runs is trained on its own. Runs that share a forward pass are made again without those
that are there, and then end alike up to the rounding of sums.
"""

from pathlib import Path

from support import sandbox

from beft.study.project import load

STUDY = sandbox.STUDY | {
    "techniques": ["all_biases"],
    "selectors": ["magnitude", "fisher"],
    "tables": ["selection"],
    "figures": ["layers"],
}
OWN = {"provenance.json", "checksums.json"}  # when and how, which differ, and the checksums of that


def made(folder: Path) -> Path:
    """The project, in which nothing was done yet."""
    params = sandbox.PARAMS | {"techniques": {"untuned": {"batch_size": 8}}}
    return sandbox.make(folder, params, STUDY)


def commands(folder: Path) -> list[tuple[str, ...]]:
    """All that a workflow would run, one after the other."""
    project = load(folder / "params.yaml")
    return [
        *(("fetch", "--task", "demo_sentiment"), ("fetch", "--model", "tiny")),
        ("subsample", f"data/subsets/{next(iter(project.subsets))}"),
        ("train", "--checkpoint-seconds", "0", f"data/packs/{next(iter(project.packs))}"),
        ("score", f"data/scores/{next(iter(project.cells))}"),
        *(("collect",), ("tabulate",), ("plot",), ("page",)),
    ]


def results(folder: Path) -> dict[str, bytes]:
    """The files that follow from the recipes alone."""
    kinds = ("sources", "subsets", "models", "scores", "runs")
    found = {f"{k}/{n}": c for k in kinds for n, c in sandbox.contents(folder / "data" / k).items()}
    for kind in ("tables", "figures"):
        found |= sandbox.contents(folder / "reports" / kind)
    return {name: content for name, content in found.items() if Path(name).name not in OWN}


def differences(one: Path, two: Path) -> list[str]:
    """What of it is not the same in two projects."""
    first, second = results(one), results(two)
    assert first
    return sorted(n for n in first.keys() | second.keys() if first.get(n) != second.get(n))
