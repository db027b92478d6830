"""Which runs a study times and merges, and which files it names for them."""

import copy

import pytest
from support import sandbox

from beft.errors import UserError
from beft.study.project import Project, load

TASK = sandbox.PARAMS["tasks"]["demo_sentiment"]
PARAMS = copy.deepcopy(sandbox.PARAMS)
PARAMS["tasks"] |= {"demo_acceptability": TASK}
PLACE = {"model": "tiny", "task": "demo_sentiment", "regime": "low"}
PAIR = {"model": "tiny", "tasks": ["demo_sentiment", "demo_acceptability"], "regime": "low"}
STUDY = sandbox.STUDY | {
    "tasks": ["demo_sentiment", "demo_acceptability"],
    "techniques": ["b_v", "b_q", "full"],
    "seeds": [3, 1],
    "selectors": [],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return sandbox.make(tmp_path_factory.mktemp("measured") / "project", PARAMS, STUDY)


def project(root, **changes) -> Project:
    sandbox.write(root / "studies" / "own.yaml", STUDY | changes)
    return load(root / "params.yaml", "own")


def timing(*techniques: str, **changes) -> dict:
    return PLACE | {"techniques": list(techniques)} | changes


def test_the_first_seed_of_each_technique_is_timed(root):
    made = project(root, timing=[timing("full", "b_v", repeats=2)])
    ((path, timed),) = made.timings.items()
    assert [(r.technique, r.seed) for r in timed.recipes] == [("full", 3), ("b_v", 3)]
    assert timed.repeats == 2
    assert path.startswith("tiny/demo_sentiment/low/") and path.endswith(".json")
    assert project(root, timing=[timing("b_v")]).timings.popitem()[1].repeats == 3


def test_of_runs_that_differ_in_settings_alone_the_studys_first_is_timed(root):
    also = [{"training": {"learning_rate": 0.5}}]
    before, after = (
        project(root, timing=[timing("b_v")], also=more).timings for more in ([], also)
    )
    assert before.keys() == after.keys()


def test_the_files_name_says_what_was_measured(root):
    """Another seed changes what is merged, not what is timed."""
    entries = {
        "timing": [timing("b_v", "full")],
        "merging": [PAIR | {"technique": "b_v"}],
    }
    made = project(root, **entries)
    more = project(root, **entries, seeds=[3, 1, 2])
    assert set(made.timings) == set(more.timings)
    assert set(made.merges) != set(more.merges)
    others = [[timing("full", "b_v")], [timing("b_v", "full", repeats=4)], [timing("b_v")]]
    names = [set(project(root, timing=other).timings) for other in others]
    assert len({frozenset(n) for n in (*names, set(made.timings))}) == 4


def test_couples_are_the_seeds_that_both_tasks_have(root):
    also = [{"tasks": ["demo_sentiment"], "seeds": [7]}, {"techniques": ["untuned"], "seeds": [1]}]
    made = project(root, merging=[PAIR | {"technique": "b_v"}], also=also)
    ((path, merged),) = made.merges.items()
    assert path.startswith("tiny/low/")
    assert [c.tuned[0].seed for c in merged.couples] == [3, 1]
    for couple in merged.couples:
        assert [r.task["name"] for r in couple.tuned] == PAIR["tasks"]
        assert {r.technique for r in couple.tuned} == {"b_v"}
    first, second = merged.couples
    assert first.untuned == (None, None)
    assert [r.task["name"] for r in second.untuned] == PAIR["tasks"]
    assert len(merged.recipes()) == 2 + 4


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (timing("b_v") | {"model": "tyni"}, r"model 'tyni'.* did you mean 'tiny'"),
        (timing("b_v") | {"task": "sst2"}, r"task 'sst2'.* for tiny; valid: demo_a.*, demo_s"),
        (timing("b_v") | {"regime": "high"}, r"regime 'high'.* for tiny demo_sentiment"),
        (timing("b_v", "b_k"), r"technique 'b_k'.* no such runs for tiny demo_sentiment low"),
    ],
)
def test_what_is_timed_must_be_run(root, entry, message):
    with pytest.raises(
        UserError, match=f"study 'own': {message}" if "timing" in message else message
    ):
        project(root, timing=[entry])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": ["demo_sentiment", "mine"]}, r"merging: task 'mine'"),
        ({"technique": "b_k"}, r"technique 'b_k'"),
        ({"technique": "full"}, r"technique 'full' tunes more than biases"),
    ],
)
def test_what_is_merged_must_be_run_and_of_biases(root, changes, message):
    with pytest.raises(UserError, match=message):
        project(root, merging=[PAIR | {"technique": "b_v"} | changes])


def test_tasks_without_a_common_seed(root):
    study = {"tasks": ["demo_sentiment"], "also": [{"tasks": ["demo_acceptability"], "seeds": [9]}]}
    with pytest.raises(UserError, match="have no seed in common"):
        project(root, **study, merging=[PAIR | {"technique": "b_v"}])
