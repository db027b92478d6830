"""Studies that are several others in one."""

from pathlib import Path

import pytest
from support import sandbox

from beft.errors import UserError
from beft.study import studies
from beft.study.project import load

ROOT = sandbox.ROOT
ONE = {"models": ["m"], "tasks": ["a"], "regimes": ["low"], "techniques": ["b_v"], "seeds": [0]}
TWO = ONE | {"tasks": ["b"], "training": {"epochs": 2}, "also": [{"tasks": ["c"], "seeds": [1]}]}


def written(folder: Path, **files: dict) -> Path:
    for name, data in files.items():
        sandbox.write(folder / "studies" / f"{name}.yaml", data)
    return folder


def test_a_union_has_the_selections_tables_and_figures_of_all_in_order(tmp_path):
    pair = {"model": "m", "tasks": ["a", "b"], "regime": "low", "technique": "b_v"}
    one = ONE | {"tables": ["table1", "selection"], "figures": ["figure1"], "merging": [pair]}
    two = TWO | {"tables": ["table4", "table1"], "figures": ["figure1", "curves"]}
    two |= {"merging": [pair, pair | {"tasks": ["a", "c"]}]}
    root = written(tmp_path, one=one, two=two, both={"union": ["one", "two"], "description": "d"})
    both = studies.load_study("both", root)
    assert [(s.tasks, s.seeds, s.training.epochs) for s in both.selections()] == [
        (["a"], [0], None),
        (["b"], [0], 2),
        (["c"], [1], 2),
    ]
    assert both.tables == ["table1", "selection", "table4"]
    assert both.figures == ["figure1", "curves"]
    assert [m.tasks for m in both.merging] == [["a", "b"], ["a", "c"]]
    assert both.description == "d"
    tasks = {name: [s.tasks for s in scope] for name, scope in both.scopes.items()}
    assert tasks["table1"] == [["a"], ["b"], ["c"]] and tasks["table4"] == [["b"], ["c"]]
    assert tasks["selection"] == [["a"]] and studies.load_study("one", root).scopes == {}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"both": {"union": ["one", "twoo"]}}, r"study 'twoo': .*did you mean 'two'"),
        ({"both": {"union": ["one"]}}, r"both.yaml: union: .*at least 2"),
        ({"both": {"union": ["one", "one"]}}, r"both.yaml: union: 'one' is listed twice"),
        ({"both": {"union": ["one", "two"], "seeds": [1]}}, r"both.yaml: unknown key 'seeds'"),
        ({"all": {"union": ["one", "two"]}, "both": {"union": ["all", "one"]}},
         r"both.yaml: union: 'all' is a union itself; name its studies"),
        ({"two": TWO | {"skip_inert": True}, "both": {"union": ["one", "two"]}},
         r"both.yaml: union: its studies differ in 'skip_inert'"),
    ],
)  # fmt: skip
def test_a_wrong_union_is_one_clear_line(tmp_path, files, words):
    root = written(tmp_path, **{"one": ONE, "two": TWO, **files})
    with pytest.raises(UserError, match=words):
        studies.load_study("both", root)


def test_the_paper_is_the_union_of_its_tables_and_figures():
    """Every run of every study of the paper, each once, and nothing else."""
    names = [*(f"table{n}" for n in range(1, 7)), "figure4", "extension"]
    parts = [load(ROOT / "params.yaml", name) for name in names]
    paper = load(ROOT / "params.yaml", "paper")
    assert {r.digest for r in paper.recipes} == {r.digest for p in parts for r in p.recipes}
    for kind in ("tables", "figures"):
        wanted = {name for part in parts for name in getattr(part.study, kind)}
        assert set(getattr(paper.study, kind)) == wanted


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("mini", "studies/mini.yaml"),
        ("studies/mini.yaml", "studies/mini.yaml"),
        ("mini.yaml", "mini.yaml"),
        ("./own/x.yml", "own/x.yml"),
        ("/elsewhere/x.yaml", "/elsewhere/x.yaml"),
    ],
)
def test_a_study_is_a_name_or_a_path(tmp_path, name, path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "mini.yaml").touch()
    assert studies.study_path(name, tmp_path) == tmp_path / path
