"""Reports follow from the runs alone: built twice, wherever and however, the bytes are the same."""

import random
import shutil
from pathlib import Path

import pytest
from support import sandbox

from beft.report.build import files_of
from beft.study.studies import FIGURES, TABLES

# one machine and another: time zone, language, encoding, hashes, threads, width of the terminal
HERE = {"TZ": "UTC", "LC_ALL": "C.UTF-8", "COLUMNS": "80"}
THERE = {
    "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0",
    "PYTHONHASHSEED": "2718", "COLUMNS": "213", "OMP_NUM_THREADS": "2",
    "SOURCE_DATE_EPOCH": "1000000000", "MPLBACKEND": "svg",
}  # fmt: skip


def copy(source: Path, target: Path, order: random.Random) -> Path:
    """A copy whose files and folders were made in a random order, so that they are listed in it."""
    paths = [path for path in source.rglob("*") if path.is_file()]
    order.shuffle(paths)
    for path in paths:
        new = target / path.relative_to(source)
        new.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, new)
    return target


@pytest.fixture
def everything(project) -> Path:
    """A project of several tasks, regimes and seeds with whatever can be shown; some runs miss."""
    path = project / "studies" / "mini.yaml"
    sandbox.change(path, "tables", to=list(TABLES))
    sandbox.change(path, "figures", to=list(FIGURES))
    sandbox.change(path, "seeds", to=[0, 1])
    return project


def test_two_builds_are_the_same_bytes(everything, tmp_path):
    elsewhere = copy(everything, tmp_path / "somewhere" / "else", random.Random(0))
    (elsewhere / "matplotlibrc").write_text("font.size: 20\nsavefig.dpi: 30\n")
    shutil.rmtree(elsewhere / "reports")
    sandbox.run(everything, "beft", "report", **HERE)
    params = str(elsewhere / "params.yaml")
    sandbox.run(elsewhere, "beft", "report", "--params", params, real=True, **THERE)
    one, two = (sandbox.contents(folder / "reports") for folder in (everything, elsewhere))
    assert set(one) == {*files_of(TABLES, FIGURES), "checksums.json"}
    assert set(two) == set(one)
    assert [name for name in one if one[name] != two[name]] == []
