"""A call of `tune`: its work folder, and what is left when it does not end well."""

import pytest
from support import tiny

from beft.errors import UserError
from beft.store.locks import lock
from beft.tuning import tune
from beft.tuning.place import LOG, beside
from beft.tuning.plan import Plan
from beft.tuning.wish import Talk, Wish

ROWS = [{"text": f"text number {i}", "label": ("bad", "good")[i % 2]} for i in range(40)]
PLAN = Plan(1, 1, 1, 1, 5, 1, 240.0)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a model, and a plan that is not measured."""
    tiny.checkpoint("bert", tmp_path / "model")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tune, "_new", lambda *given: PLAN)
    return tmp_path


def call(place, to="adapter", **talk):
    return tune.tune(ROWS, Wish(str(place / "model"), minutes=0.5), place / to, Talk(**talk))


def names(place) -> set[str]:
    return {path.name for path in place.iterdir()}


@pytest.mark.parametrize("to", ["adapter", "here", "a b/ä ü"])
def test_a_call_that_is_declined_leaves_nothing(place, to):
    said = []
    with pytest.raises(UserError, match="not started; nothing was written"):
        call(place, to, agrees=lambda: False, say=said.append)
    assert names(place) <= {"model", "here", "a b"}
    assert not any(names(place / each) for each in names(place) - {"model"})
    assert said[-1].startswith("plan: ")
    assert (
        ", about 4 minutes with" in said[-1] and "the shortest there is (--minutes 0.5)" in said[-1]
    )


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, OSError])
@pytest.mark.parametrize("begun", [False, True])
def test_what_was_trained_is_kept_for_the_next_call(place, stop, begun):
    def agrees():
        if begun:
            (place / ".adapter.work" / LOG).touch()
        raise stop

    with pytest.raises(stop):
        call(place, agrees=agrees)
    assert names(place) == {"model", "here", *([".adapter.work"] if begun else [])}


def test_two_calls_for_one_folder(place):
    """The second is refused at once, and touches nothing of the first."""
    work = place / ".adapter.work"
    with lock(beside(place / "adapter").lock):
        (work / "plan.json").write_text("of the first")
        with pytest.raises(UserError, match=r"tune: held by .*; wait for it or stop it first"):
            call(place)
        assert (work / "plan.json").read_text() == "of the first"


def test_a_folder_that_came_into_being_meanwhile(place, monkeypatch):
    read = tune.read_task

    def slow(*given, **more):
        (place / "adapter").write_text("of another call")
        return read(*given, **more)

    monkeypatch.setattr(tune, "read_task", slow)
    with pytest.raises(UserError, match="adapter: is there already"):
        call(place)
    assert names(place) == {"model", "here", "adapter"}


@pytest.mark.parametrize("to", ["model/config.json", "model/config.json/below", "model", "x" * 300])
def test_targets_that_cannot_be_written(place, to):
    with pytest.raises(UserError, match=r"(is there already|cannot be written)") as raised:
        call(place, to)
    assert "\n" not in str(raised.value)
    assert names(place) == {"model", "here"}
