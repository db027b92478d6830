"""A project: which files its study makes, and what may be chosen on the command line."""

from pathlib import Path

import pytest
from support import sandbox

from beft.errors import UserError
from beft.report.analysis import published
from beft.report.frames.collect import settings
from beft.study.fields import check_for_shells
from beft.study.project import load, load_for_workflow
from beft.study.recipe import kind_of
from beft.study.study_files import is_elsewhere, mistakable, study_files

PARAMS = {
    **sandbox.PARAMS,
    "models": {name: {"hub": f"own/{name}", "revision": "r"} for name in ("m", "n")},
}
STUDY = {
    "models": ["m", "n"],
    "tasks": ["demo_sentiment", "demo_similarity"],
    "regimes": ["low", "medium"],
    "techniques": ["b_v", "full"],
    "seeds": [0, 1],
    "selectors": ["projection", "fisher"],
}


@pytest.fixture
def root(tmp_path) -> Path:
    sandbox.write(tmp_path / "params.yaml", PARAMS)
    sandbox.write(tmp_path / "studies" / "mini.yaml", STUDY)
    return tmp_path


def project(root, **changes):
    for key, value in changes.items():
        sandbox.change(root / "studies" / "mini.yaml", key, to=value)
    return load(root / "params.yaml")


def test_counts_follow_from_the_study(root):
    made = project(root)
    assert len(made.recipes) == 2 * 2 * 2 * 4 * 2  # and all_biases and untuned, for the selectors
    assert len(made.packs) == 2 * 2 * 2 * 4
    assert len(made.cells) == 2 * 2 * 2
    assert len(made.subsets) == 2 * 2 * 2  # task, regime, seed
    assert set(made.sources().values()) == {"demo_sentiment", "demo_similarity"}
    assert set(made.models().values()) == {"m", "n"}
    assert all(key.endswith(".json") for key in made.packs)
    assert all(len(cell.recipes) == 4 for cell in made.cells.values())


def test_every_run_belongs_to_the_pack_that_lists_it(root):
    made = project(root)
    for recipe in made.recipes:
        assert recipe in made.packs[made.pack_of(recipe)].recipes


def test_a_cell_without_selectors_is_not_scored(root):
    assert project(root, selectors=[]).cells == {}


# What changes in the study -> whether packs, scores and subsets that were there stay valid.
@pytest.mark.parametrize(
    ("changes", "packs", "cells", "subsets"),
    [
        ({"description": "x"}, True, True, True),
        ({"tables": ["table1"]}, True, True, True),
        ({"techniques": ["b_v", "full", "b_q"]}, True, True, True),
        ({"regimes": ["low", "medium", "all"]}, True, True, True),
        ({"seeds": [0, 1, 2]}, False, False, True),
        ({"selectors": ["projection"]}, True, False, True),
        ({"skip_inert": True}, False, True, True),
        ({"fuse_techniques": True}, False, True, True),
        ({"training": {"epochs": 9}}, False, False, True),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_a_change_leaves_valid(root, changes, packs, cells, subsets):
    before, after = project(root), project(root, **changes)
    assert (set(before.packs) <= set(after.packs)) is packs
    assert (set(before.cells) <= set(after.cells)) is cells
    assert (set(before.subsets) <= set(after.subsets)) is subsets


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"tables": ["table1"]}, False),
        ({"figures": []}, False),
        ({"techniques": ["full", "b_v"]}, False),
        ({"training": {"dropout": 0.1}}, False),
        ({"description": "x"}, False),
    ],
    ids=str,
)
def test_the_fingerprint_is_that_of_what_reports_show(root, changes, same):
    before = project(root).fingerprint
    assert (project(root, **changes).fingerprint == before) is same


def test_execution_is_not_in_the_fingerprint(root):
    before = project(root).fingerprint
    sandbox.change(root / "params.yaml", "execution", "threads", to=4)
    assert project(root).fingerprint == before


@pytest.mark.parametrize(
    ("kind", "folder"), [("packs", "packs"), ("cells", "scores"), ("subsets", "subsets")]
)
def test_files_are_found_by_any_way_of_writing_their_path(root, monkeypatch, kind, folder):
    made = project(root)
    known = getattr(made, kind)
    key = next(iter(known))
    monkeypatch.chdir(root)
    place = f"data/{folder}/{key}"
    for path in (place, root / place, f"./data/x/../{folder}/{key}"):
        assert made.find(known, folder, Path(path)) is known[key]
    for path in (f"{place}x", f"elsewhere/{key}", "/", f"../{place}"):
        with pytest.raises(UserError, match="study 'mini' does not make this file"):
            made.find(known, folder, Path(path))


def test_a_study_may_be_a_path_and_its_name_is_the_files(root, tmp_path):
    sandbox.write(root / "own" / "narrow.yaml", {**STUDY, "seeds": [5]})
    for study in ("own/narrow.yaml", str(root / "own" / "narrow.yaml")):
        made = load(root / "params.yaml", study)
        assert made.name == "narrow" and {r.seed for r in made.recipes} == {5}


@pytest.fixture(scope="module")
def paper():
    return load(sandbox.ROOT / "params.yaml", "paper")


@pytest.mark.parametrize("part", ["table1", "table5", "table6", "figure4"])
def test_the_papers_study_shares_runs_jobs_and_scores_with_its_parts(paper, part):
    """What one of them has trained, the other one has."""
    made = load(sandbox.ROOT / "params.yaml", part)
    assert {r.digest for r in made.recipes} <= {r.digest for r in paper.recipes}
    assert set(made.packs) <= set(paper.packs)
    assert set(made.cells) <= set(paper.cells)


def test_the_papers_study_has_the_runs_of_table_4_and_of_section_3_4_with_its_model(paper):
    """In other packs, since all rates of a task share one; a job takes the runs that are there."""
    trained = {r.digest for r in paper.recipes}
    table4 = load(sandbox.ROOT / "params.yaml", "table4")
    assert {r.digest for r in table4.recipes} <= trained
    extension = load(sandbox.ROOT / "params.yaml", "extension")
    own = [r for r in extension.recipes if r.model["alias"] == "bert-base-cased"]
    assert len(own) == 2 * 5 * (2 * 4 + 1)  # tasks, seeds, rates of four techniques, and untuned
    assert {r.digest for r in own} <= trained
    assert {r.model["alias"] for r in extension.recipes} == {
        r.model["alias"] for r in table4.recipes
    }


def test_the_papers_study_has_a_run_for_every_published_number(paper):
    """Table 3's numbers are those of its runs, merged or on another task."""
    made = {(r.model["alias"], r.task["name"], r.regime, r.technique) for r in paper.recipes}
    numbers = published.load()
    numbers = numbers[(numbers["table"] != "table3") & (numbers["task"] != published.AVERAGE)]
    keys = numbers[["model", "task", "regime", "technique"]].itertuples(index=False, name=None)
    assert set(keys) - made == set()
    merged = {("bert-base-cased", t, "low", n) for t in ("sst2", "rte") for n in ("b_v", "untuned")}
    assert merged <= made
    assert {r.seed for r in paper.recipes} == {0, 1, 2, 3, 4}


def test_the_papers_study_has_what_stands_in_its_text(paper):
    """Figure 4 shows all data; section 3.4 two learning rates; BERT-large trains longer."""
    figure4 = {(r.task["name"], r.technique) for r in paper.recipes if r.regime == "all"}
    terms = ("b_v", "b_q", "b_k", "all_biases", "untuned")
    assert figure4 == {(task, t) for task in ("sst2", "cola", "stsb") for t in terms}
    for task in ("cb", "wic"):
        for technique in terms[:4]:
            rates = {
                (r.training["learning_rate"], r.seed)
                for r in paper.recipes
                if r.cell() == f"bert-base-cased/{task}/low" and r.technique == technique
            }
            assert rates == {(rate, seed) for rate in (1e-3, 1e-4) for seed in range(5)}
    large = {
        r.task["name"]: r.training["epochs"]
        for r in paper.recipes
        if r.model["alias"] == "bert-large-cased" and r.technique == "b_v"
    }
    assert large == {"sst2": 30, "rte": 30, "cb": 60, "wic": 30}


def test_selections_have_selectors_of_their_own(root):
    """They bring the runs that they need, and score the places that their selection names."""
    also = [
        {"models": ["n"], "tasks": ["demo_similarity"], "selectors": ["fisher"]},
        {"models": ["n"], "tasks": ["demo_sentiment"], "selectors": []},
    ]
    made = project(root, models=["m"], tasks=["demo_sentiment"], also=also)
    scored = {
        (c.recipes[0].model["alias"], c.recipes[0].task["name"], c.selectors): {
            r.technique for r in c.recipes
        }
        for c in made.cells.values()
    }
    assert scored == {
        ("m", "demo_sentiment", ("projection", "fisher")): {"all_biases", "untuned"},
        ("n", "demo_similarity", ("fisher",)): {"untuned"},
    }


def test_of_runs_that_differ_in_their_settings_alone_the_first_is_scored(root):
    rates = [{"training": {"learning_rate": rate}} for rate in (1e-3, 1e-4)]
    made = project(root, tasks=["demo_sentiment"], also=rates)
    assert len([r for r in made.recipes if r.technique == "all_biases"]) == 3 * 2 * 2 * 2
    for cell in made.cells.values():
        rates = [r.training["learning_rate"] for r in cell.recipes if r.technique == "all_biases"]
        assert rates == [1e-2, 1e-2]  # the task's own, of two seeds
        others = [(r.technique, r.training["learning_rate"]) for r in cell.further]
        assert others == [("all_biases", rate) for rate in (1e-3, 1e-3, 1e-4, 1e-4)]


def test_further_settings_change_the_name_of_the_scores_and_no_other_cell(root):
    """Their scores per epoch stand beside, so the file is another one."""
    plain = project(root)
    wider = project(root, also=[{"tasks": ["demo_sentiment"], "training": {"epochs": 9}}])
    same = {key for key in plain.cells if "demo_similarity" in key}
    assert set(plain.cells) & set(wider.cells) == same and same
    assert all(not plain.cells[key].further for key in plain.cells)


def test_the_size_of_a_model_changes_nothing(root):
    before = project(root)
    sandbox.change(root / "params.yaml", "models", "m", "parameters", to=1000)
    after = project(root)
    assert after.params.models["m"].parameters == 1000
    assert [r.digest for r in after.recipes] == [r.digest for r in before.recipes]
    assert after.fingerprint == before.fingerprint
    assert settings(after) == settings(before)


def test_the_command_line_may_choose_the_study(root):
    sandbox.write(root / "studies" / "other.yaml", {**STUDY, "seeds": [5]})
    assert load_for_workflow(root / "params.yaml", {}).name == "mini"
    assert load_for_workflow(root / "params.yaml", {"study": "other"}).name == "other"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training", {}),
        ("learning_rate", 0.1),
        ("tasks", {"demo_sentiment": {"demo": True}}),
        ("execution", {"threads": 2}),
    ],
)
def test_the_command_line_may_choose_nothing_else(root, key, value):
    with pytest.raises(UserError, match=f"--config {key}: only 'study'"):
        load_for_workflow(root / "params.yaml", {"study": "mini", key: value})


@pytest.mark.parametrize(
    "name", ["it's", 'a"b', "$(touch x)", "`x`", "a;b", "a&b", "a|b", "a>b", "a\\b", "a\nb", "a*b"]
)
def test_a_workflow_takes_no_study_that_a_shell_could_run(root, name):
    """Also where params.yaml names it: jobs on a cluster are started by a shell."""
    path = root / f"{name}.yaml"
    sandbox.write(path, STUDY)
    with pytest.raises(UserError, match=r"study '.*may mean something to the shells"):
        load_for_workflow(root / "params.yaml", {"study": str(path)})
    sandbox.change(root / "params.yaml", "study", to=str(path))
    with pytest.raises(UserError, match="may mean something to the shells"):
        load_for_workflow(root / "params.yaml", {})
    assert load(root / "params.yaml").name == Path(path).stem  # nothing else minds


@pytest.mark.parametrize(
    "name", ["mini", "studies/größer als mini.yaml", "/a b/x_1+2@c=d:e,f.yaml"]
)
def test_other_signs_are_for_names(name):
    check_for_shells("study", name)
    if " " in name:
        with pytest.raises(UserError, match="';'"):
            check_for_shells("python", name, blanks=False)


@pytest.mark.parametrize(
    "place", ["mini.yml", "Mini.YAML", "sub/mini.yaml", "mini.yaml.bak", "mini", "mini.json"]
)
def test_what_studies_holds_besides_studies_is_none(root, place):
    """`beft prune` reads the same files, and no others."""
    path = root / "studies" / place
    sandbox.write(path, STUDY)
    (root / "elsewhere.yaml").symlink_to(path)
    for name in (f"studies/{place}", f"./studies/../studies/{place}", str(path), "elsewhere.yaml"):
        if name != "studies/mini":
            with pytest.raises(UserError, match="not a study; in studies/"):
                load(root / "params.yaml", name)
    sandbox.write(root / "studies" / "joined.yaml", {"union": ["mini", f"studies/{place}"]})
    with pytest.raises(UserError, match="not a study"):
        load(root / "params.yaml", "joined")
    assert (path in mistakable(root)) == (place != "mini")


def test_a_study_may_lie_elsewhere(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "any.name"
    sandbox.write(outside, STUDY)
    (root / "studies" / "linked.yaml").symlink_to(outside)
    assert load(root / "params.yaml", str(outside)).name == "any"
    assert load(root / "params.yaml", "linked").name == "linked"
    assert is_elsewhere(str(outside), root)
    assert not any(is_elsewhere(n, root) for n in ("mini", "studies/mini.yaml", "../none.yaml", ""))
    assert [p.name for p in study_files(root)] == ["linked.yaml", "mini.yaml"]
    assert mistakable(root) == []
    (root / "studies" / "folder").symlink_to(outside.parent)
    assert mistakable(root) == [root / "studies" / "folder"]


@pytest.mark.parametrize("name", ["paper", "real_small"])
def test_studies_that_are_compared_with_others_name_their_precision(name):
    """`auto` would be bfloat16 on one machine and float32 on another, under one digest."""
    recipes = load(sandbox.ROOT / "params.yaml", name).recipes
    assert {r.training["precision"] for r in recipes} <= {"float32", "bfloat16"}
    if name == "paper":
        for kind, precision in (("encoder", "float32"), ("decoder", "bfloat16")):
            own = {r.training["precision"] for r in recipes if kind_of(r.model) == kind}
            assert own == {precision}
