"""Two reports held against each other: by hand-written runs and intervals."""

import io
import math

import pandas as pd
import pytest
from rich.console import Console
from scipy import stats
from support.frames_of import frames_of

from beft.report.compare import view
from beft.report.compare.compare import Comparison, compare
from beft.report.compare.revisions import Reports
from beft.report.frames import schema as F
from beft.report.tables.formats import to_csv, to_latex, to_markdown

SETTINGS = {
    "study": "s", "models": {"m": {"revision": "r1"}}, "regimes": ["low"],
    "tasks": {"t": {"batch_size": 8, "learning_rate": 0.01, "techniques": {"full": {"lr": 1}}}},
    "techniques": ["b_q", "b_v", "full"], "training": {"precision": "float32"},
}  # fmt: skip


def reports(numbers: dict, settings=SETTINGS, label="x", tag="", rate=0.01, **given) -> Reports:
    """Reports of model m, task t, regime low.

    Args:
        numbers: technique -> one entry per seed: a number, or the status of a run without one.
        tag: part of every digest.
        given: further frames: name -> rows.
    """
    runs, problems = [], []
    for technique, values in numbers.items():
        for seed, value in enumerate(values):
            ok = not isinstance(value, str)
            digest = f"{technique}-{seed}{tag}"
            number = value if ok else math.nan
            runs.append({
                "study": "s", "model": "m", "task": "t", "regime": "low", "technique": technique,
                "seed": seed, "learning_rate": rate, "epochs": 2, "metric": "accuracy",
                "best": number, "last": number - 0.1, "status": "ok" if ok else value,
                "digest": digest,
            })  # fmt: skip
            if not ok:
                problems.append({"digest": digest, "status": value, "reason": f"{value} <why>"})
    frames = {"runs": runs, "problems": problems, **given}
    tables = {name: F.frame(name, rows) for name, rows in frames.items()}
    return Reports(label, frames_of(settings, **tables), ())


def interval(technique: str, low: float, high: float, epoch="best") -> dict:
    place = {"model": "m", "task": "t", "regime": "low", "technique": technique}
    return {**place, "split": "validation", "epoch": epoch, "low": low, "high": high}


def verdicts(comparison: Comparison) -> dict[str, str]:
    """Technique -> verdict, in the order in which cells are shown."""
    return dict(zip(comparison.cells["technique"], comparison.cells["verdict"], strict=True))


def test_the_same_reports_are_said_to_be_the_same():
    """Also where values are undefined, and where sums round in another order."""
    one = reports({"b_v": [0.1, 0.2, 0.3], "b_q": ["diverged"]})
    found = compare(one, reports({"b_v": [0.1, 0.2, 0.3], "b_q": ["diverged"]}))
    assert verdicts(found) == {"b_v": "same", "b_q": "same"}
    assert view.headline(found) == "nothing differs in 2 cells and 4 runs"
    table = view.as_table(found)
    assert table.parts == ()
    assert "Every frame is the same to the last digit." in table.notes
    other = compare(one, reports({"b_v": [0.3 + 1e-16, 0.2, 0.1 - 1e-16], "b_q": ["diverged"]}))
    assert verdicts(other) == {"b_v": "same", "b_q": "same"}
    assert "runs.csv" in " ".join(view.as_table(other).notes)


def test_beyond_means_that_intervals_have_no_point_in_common():
    """b_q: [0.4, 0.5] and [0.51, 0.6] lie apart; b_v: [0.4, 0.6] and [0.6, 0.8] touch."""
    a = [interval("b_q", 0.4, 0.5), interval("b_v", 0.4, 0.6), interval("full", 0.9, 0.95, "last")]
    b = [interval("b_q", 0.51, 0.6), interval("b_v", 0.6, 0.8), interval("full", 0.1, 0.2, "last")]
    found = compare(
        reports({"b_q": [0.45], "b_v": [0.5], "full": [0.9]}, intervals=a),
        reports({"b_q": [0.55], "b_v": [0.7], "full": [0.1]}, intervals=b),
    )
    # the intervals of `full` are those of the other epoch: with one seed there is none
    assert verdicts(found) == {"b_q": "beyond", "full": "moved", "b_v": "within"}
    assert found.cells["change"].tolist() == pytest.approx([0.1, -0.8, 0.2])
    assert found.cells["basis_after"].tolist() == ["bootstrap", "", "bootstrap"]
    last = compare(
        reports({"full": [0.9]}, intervals=a), reports({"full": [0.1]}, intervals=b), "last"
    )
    assert verdicts(last) == {"full": "beyond"}
    assert last.cells["after"][0] == pytest.approx(0.0)  # `last` is 0.1 less than `best`


def test_without_intervals_the_deviation_over_seeds_decides():
    """Student's interval, as scipy gives it."""
    before, after = [0.50, 0.52, 0.54], [0.60, 0.62, 0.64]
    found = compare(reports({"b_v": before}), reports({"b_v": after}))
    low, high = stats.t.interval(0.95, 2, loc=0.52, scale=stats.sem(before))
    row = found.cells.iloc[0]
    assert (row["low_before"], row["high_before"]) == pytest.approx((low, high))
    assert high < 0.62 - (high - 0.52)  # so they lie apart
    assert (row["verdict"], row["basis_before"]) == ("beyond", "seeds")
    wide = compare(reports({"b_v": [0.4, 0.6, 0.7]}), reports({"b_v": after}))
    assert verdicts(wide) == {"b_v": "within"}


def test_what_became_of_runs_comes_first_and_losses_before_gains():
    a = reports({"b_q": ["failed"], "b_v": [0.5, 0.6], "full": [0.9]})
    b = reports({"b_q": [0.5], "b_v": [0.5, "diverged"], "full": [0.1], "b_k": [0.2]})
    found = compare(a, b)
    assert verdicts(found) == {
        "b_v": "status", "b_q": "status", "full": "moved", "b_k": "only in B"
    }  # fmt: skip
    part = view.as_table(found).parts[0]
    assert part.caption == "Cells of which other runs count"
    assert part.rows[0][2].problem == "1/2 diverged"
    runs = found.runs.set_index(["technique", "seed", "finding"])
    assert runs.loc["b_q", 0, "status"].tolist()[-2:] == ["failed: failed <why>", "ok"]
    assert runs.loc["b_v", 1, "status"].tolist()[-2:] == ["ok", "diverged: diverged <why>"]
    assert runs.loc["b_k", 0, "only in B"].tolist()[-2:] == ["", "ok"]


def test_cells_are_sorted_by_the_size_of_their_change():
    a = reports({"b_q": [0.5], "b_v": [0.5], "full": [0.5]})
    b = reports({"b_q": [0.51], "b_v": [0.3], "full": [0.6]})
    assert list(verdicts(compare(a, b))) == ["b_v", "full", "b_q"]


def test_runs_of_other_settings_say_which():
    """Their own rate, and what the study says of their model, task and technique, and no other."""
    changed = {
        **SETTINGS,
        "models": {"m": {"revision": "r2"}},
        "tasks": {"t": {"batch_size": 16, "learning_rate": 0.03, "techniques": {"full": {"lr": 2}},
                        "decoder": {"epochs": 3}}},
    }  # fmt: skip
    a = reports({"b_v": [0.5], "full": [0.5]})
    b = reports({"b_v": [0.5], "full": [0.5]}, changed, tag="'", rate=0.03)
    runs = compare(a, b).runs.set_index("technique")
    assert runs["finding"].tolist() == ["settings", "settings"]
    assert runs["before"]["b_v"] == (
        "learning_rate: 0.01, models.m.revision: r1, tasks.t.batch_size: 8"
    )
    assert runs["after"]["b_v"] == (
        "learning_rate: 0.03, models.m.revision: r2, tasks.t.batch_size: 16"
    )
    assert runs["after"]["full"].endswith(", tasks.t.techniques.full.lr: 2")
    unknown = compare(a, reports({"b_v": [0.5], "full": [0.5]}, tag="'")).runs
    assert "do not record" in unknown["after"][0]


def test_a_run_is_known_by_its_digest_wherever_it_stands():
    """A second rate of one place, put first: the old run is still the old run."""
    a = reports({"b_v": [0.5]})
    second = reports({"b_v": [0.7]}, tag="-fast", rate=0.1)
    both = pd.concat([second.frames.runs, a.frames.runs], ignore_index=True)
    found = compare(a, Reports("b", frames_of(SETTINGS, runs=both), ()))
    assert found.runs[["finding", "seed"]].values.tolist() == [["only in B", 0]]
    assert verdicts(found) == {"b_v": "moved"}  # the table shows the first of them


def test_the_same_recipe_with_another_number():
    found = compare(reports({"b_v": [0.5, 0.6]}), reports({"b_v": [0.5, 0.61]}))
    assert found.runs[["seed", "finding", "before", "after"]].values.tolist() == [
        [1, "number", 0.6, 0.61]
    ]
    assert "1 runs of the same recipe with another number" in view.headline(found)


def scores(**means: float) -> list[dict]:
    place = {"model": "m", "task": "t", "regime": "low", "seed": 0, "selector": "projection"}
    return [{**place, "term": t, "layer": "mean", "score": s, "inert": False}
            for t, s in means.items()]  # fmt: skip


def test_choices_that_flipped():
    a = reports({"b_q": [0.5], "b_v": [0.6]}, scores=scores(q=0.9, v=0.1))
    b = reports({"b_q": [0.7], "b_v": [0.6]}, scores=scores(q=0.2, v=0.3))
    found = compare(a, b).choices[["selector", "before", "after"]].values.tolist()
    assert found == [["best term", "v", "q"], ["projection", "q", "v"]]
    same = compare(a, reports({"b_q": [0.55], "b_v": [0.6]}, scores=scores(q=0.8, v=0.1)))
    assert same.choices.empty


def test_settings_and_circumstances():
    def made_with(torch: str) -> list[dict]:
        return [{"digest": f"b_v-{i}", "torch": torch, "device": "cpu"} for i in range(2)]

    changed = {**SETTINGS, "tables": ["table1"], "training": {"precision": "bfloat16"}}
    found = compare(
        reports({"b_v": [0.5, 0.5]}, provenance=made_with("2.12")),
        reports({"b_v": [0.5, 0.5]}, changed, provenance=made_with("2.13")),
    )
    assert found.settings.values.tolist() == [
        ["tables", "absent", '["table1"]'], ["training.precision", "float32", "bfloat16"]
    ]  # fmt: skip
    assert found.circumstances.values.tolist() == [["torch", "2.12 (2 runs)", "2.13 (2 runs)"]]


def test_nothing_run_yet_and_no_settings():
    """An empty study against one with runs, and against itself."""
    empty = Reports("a", frames_of({}), ("settings.json",))
    assert view.headline(compare(empty, empty)) == "nothing differs in 0 cells and 0 runs"
    found = compare(empty, reports({"b_v": [0.5]}))
    assert verdicts(found) == {"b_v": "only in B"}
    assert "A lacks settings.json: taken as empty." in view.as_table(found).notes


def test_hostile_names_are_text_in_every_format():
    name = "<script>$a_b|[red]c"
    sides = []
    for value in (0.5, 0.6):
        side = reports({name: [value]}, {**SETTINGS, "study": f"{name}{value}"})
        sides.append(side)
    table = view.as_table(compare(*sides))
    markdown = to_markdown(table)
    assert r"\<script" in markdown and r"$a_b\|[red]c" in markdown
    assert r"\textless{}script\textgreater{}\$a\_b\textbar{}" in to_latex(table)
    assert name in to_csv(table)
    console = Console(width=200, record=True, file=io.StringIO())
    view.show(table, console)
    assert name in console.export_text()


def test_a_terminal_gets_the_first_rows_and_the_number_of_the_others():
    many = {f"b_{i}": [0.5] for i in range(view.SHOWN_ROWS + 7)}
    found = compare(reports(many), reports({name: [0.6] for name in many}))
    console = Console(width=120, record=True, file=io.StringIO())
    table = view.as_table(found)
    view.show(table, console)
    text = console.export_text()
    assert "and 7 more rows" in text
    assert to_markdown(table).count("| +10.00 |") == 2 * len(many)  # cells, and runs


def test_csv_holds_every_cell_and_every_finding():
    a = reports({"b_q": [0.5], "b_v": [0.6]})
    b = reports({"b_q": [0.5], "b_v": [0.7]}, {**SETTINGS, "study": "other"}, tag="'", rate=0.1)
    lines = to_csv(view.as_table(compare(a, b))).splitlines()
    kinds = [line.split(",")[:2] for line in lines[1:]]
    assert kinds == [
        ["cell", "moved"], ["cell", "same"], ["run", "settings"], ["run", "settings"],
        ["setting", "differs"],
    ]  # fmt: skip
