"""Table 2: run times, trained shares and metrics, by numbers that are worked out by hand."""

import math

import pandas as pd
import pytest
from support.frames_of import frames_of
from support.measurements import timed

from beft.report.frames.schema import Frames, frame
from beft.report.tables import formats
from beft.report.tables.table2 import table2

BERT = ("bert-base-cased", "rte", "low")


def study(timings: list[dict], place=BERT, metric="accuracy", runs=None, **given) -> Frames:
    """Two seeds of b_v (0.5 and 0.7) and of full (0.6 and a run that diverged)."""
    model, task, regime = place
    rows, evaluations = [], []
    for technique, seed, value, percent in runs or [
        ("b_v", 0, 0.5, 0.01), ("b_v", 1, 0.7, 0.01), ("full", 0, 0.6, 100.0),
        ("full", 1, None, 100.0),
    ]:  # fmt: skip
        digest = f"{technique}{seed}"
        status = "ok" if value is not None else "diverged"
        own = {"model": model, "task": task, "regime": regime, "technique": technique}
        own |= {"seed": seed, "metric": metric, "best": value, "last": value, "digest": digest}
        rows.append(own | {"status": status, "trainable_percent": percent})
        if value is not None:
            both = {"best": value, "last": value}
            evaluations.append({"digest": digest, "split": "validation", "metric": metric} | both)
    problems = [{"digest": "full1", "status": "diverged", "reason": "loss not finite"}]
    return frames_of(
        {"study": "made up", "techniques": ["b_v", "full"]},
        runs=frame("runs", rows),
        evaluations=frame("evaluations", evaluations),
        problems=frame("problems", problems),
        timings=frame("timings", timings),
        **given,
    )


def both(place=BERT) -> list[dict]:
    return [
        timed(*place, technique, repeat, seconds)
        for technique, times in (("b_v", (10.0, 14.0)), ("full", (30.0, 30.0)))
        for repeat, seconds in enumerate(times, 1)
    ]


def row(table, technique: str) -> dict:
    (part,) = table.parts
    (found,) = (r for r in part.rows if r[0].text == technique)
    return dict(zip(part.columns, found, strict=True))


def test_means_deviations_and_ratios():
    table = table2(study(both()))
    # 12 and the sample deviation of 10 and 14, which is the root of 8; 30 / 12 = 2.5
    full, b_v = row(table, "full"), row(table, "b_v")
    assert (b_v["run time (s)"].text, b_v["run time (s)"].spread) == ("12.0", "± 2.8 (n=2/2)")
    assert (full["run time (s)"].text, full["run time (s)"].spread) == ("30.0", "± 0.0 (n=2/2)")
    assert (b_v["times b_v"].text, full["times b_v"].text) == ("1.00", "2.50")
    assert (b_v["trained (%)"].text, full["trained (%)"].text) == ("0.010", "100")
    assert (b_v["accuracy (%)"].text, b_v["accuracy (%)"].spread) == ("60.0", "± 14.1 (n=2/2)")
    assert full["accuracy (%)"].text == "60.0"
    assert full["accuracy (%)"].problem == "1/2 diverged"
    assert "loss not finite" in full["accuracy (%)"].reason
    tidy = table.tidy.set_index("technique")
    assert tidy["seconds_std"]["b_v"] == pytest.approx(math.sqrt(8))
    assert tidy["train_seconds"]["b_v"] == 6.0
    assert tidy[["n", "planned"]].loc["full"].tolist() == [1, 2]


def test_the_papers_numbers_stand_only_where_everything_matches():
    table = table2(study(both()))
    found = row(table, "full")
    assert found["run time (s)"].paper == "paper 206.1"
    assert found["times b_v"].paper == "paper 1.55"  # 206.1 / 132.9
    assert found["accuracy (%)"].paper == "paper 57.46 ± 2.2, +2.5"  # 60 - 57.46
    assert row(table, "b_v")["accuracy (%)"].paper == "paper 58.53 ± 1.88, +1.5"
    assert any("Tesla T4" in note for note in table.notes)
    for place in (("m", "rte", "low"), (BERT[0], "sst2", "low"), (BERT[0], "rte", "high")):
        other = table2(study(both(place), place))
        assert "paper" not in "".join(formats.plain(c) for r in other.parts[0].rows for c in r), (
            place
        )
        assert not any("T4" in note for note in other.notes)
        assert other.tidy["paper"].isna().all()
    assert table2(study(both(), metric="f1")).tidy["paper"].isna().all()


def test_a_place_whose_files_are_missing_is_shown_as_such():
    rows = [
        timed(*BERT, t, r, None, status="missing", train_seconds=None, hardware=None, device=None)
        for r in (1, 2, 3)
        for t in ("b_v", "full")
    ]
    table = table2(study(rows))
    found = row(table, "b_v")
    assert (found["run time (s)"].text, found["run time (s)"].problem) == ("—", "not timed")
    assert found["run time (s)"].spread == "" and found["times b_v"].text == "—"
    assert found["accuracy (%)"].text == "60.0"
    assert "Nothing is timed yet." in table.notes
    assert table.tidy["repeats"].tolist() == [0, 0]
    assert table.tidy["repeats_planned"].tolist() == [3, 3]


def test_a_repeat_that_diverged_does_not_count_as_a_time():
    rows = both()
    rows[0] |= {"status": "diverged", "seconds": 0.1}
    found = row(table2(study(rows)), "b_v")
    assert (found["run time (s)"].text, found["run time (s)"].spread) == ("14.0", "(n=1/2)")
    assert found["run time (s)"].problem == "1/2 diverged"


def test_timed_runs_of_which_none_is_there():
    frames = study(both(), runs=[("full", 0, 0.6, 100.0)])
    found = row(table2(frames), "b_v")
    assert (found["accuracy (%)"].text, found["accuracy (%)"].problem) == ("—", "missing")
    assert found["run time (s)"].text == "12.0" and found["trained (%)"].text == "—"


def test_without_b_v_there_are_no_ratios():
    table = table2(study([r for r in both() if r["technique"] == "full"]))
    assert row(table, "full")["times b_v"].text == "—"


def test_the_interval_is_that_of_the_epoch_that_is_shown():
    own = dict(zip(["model", "task", "regime"], BERT, strict=True)) | {"technique": "b_v"}
    rows = [
        own | {"split": "validation", "epoch": epoch, "low": low, "high": 0.75}
        for epoch, low in (("last", 0.1), ("best", 0.25))
    ]
    frames = study(both(), intervals=frame("intervals", rows))
    for column, words in (("best", "25.0 to 75.0"), ("last", "10.0 to 75.0")):
        table = table2(frames, column)
        assert row(table, "b_v")["accuracy (%)"].interval == words
        assert row(table, "full")["accuracy (%)"].interval == ""


def test_hostile_names_are_only_text():
    place = ("<script>", "a|b", "low")
    table = table2(study(both(place), place))
    assert r"\<script" in formats.to_markdown(table) and r"a\|b" in formats.to_markdown(table)
    assert "<script" not in formats.to_latex(table)


def test_what_was_timed_where_is_said():
    rows = both()
    rows[1] |= {"hardware": "another"}
    notes = " ".join(table2(study(rows)).notes)
    assert "Timed on a machine (cpu, threads: 1); another (cpu, threads: 1)." in notes


def test_times_survive_the_csv_file(tmp_path):
    from beft.report.frames import schema as F

    frames = study(both())
    F.write(frames, tmp_path)
    pd.testing.assert_frame_equal(table2(F.read(tmp_path)).tidy, table2(frames).tidy)
