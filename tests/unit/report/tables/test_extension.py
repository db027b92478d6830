"""Section 3.4: settings stay apart, and gaps of scores and metrics are held together by hand."""

from dataclasses import replace

import pandas as pd
import pytest
from support.frames_of import frames_of

from beft.report import build, figures, tables
from beft.report.frames.columns import COLUMNS
from beft.report.frames.schema import Frames
from beft.report.tables.extension import extension
from beft.report.tables.formats import plain
from beft.report.tables.table import Shown

RATES = {1e-4: [0.1, 0.2], 1e-3: [0.3, 0.7]}  # rate -> what v is ahead of q by, after each epoch


def study(scores: dict[float, list[float]], rates=RATES, seeds=(0, 1), task="t") -> Frames:
    """b_q is 0.1 everywhere, b_v ahead of it by `rates`, all biases at 0.5; scores: v minus q."""
    rows = {name: [] for name in ("runs", "history", "trajectories")}
    for rate, ahead in rates.items():
        for seed in seeds:
            curves = {"b_v": [0.1 + x for x in ahead], "b_q": [0.1] * 2, "all_biases": [0.5] * 2}
            for technique, curve in curves.items():
                digest = f"{task}{rate}{technique}{seed}"
                rows["runs"].append(
                    {"model": "m", "task": task, "regime": "low", "technique": technique,
                     "seed": seed, "learning_rate": rate, "epochs": 2, "metric": "accuracy",
                     "best": max(curve), "last": curve[-1], "status": "ok", "digest": digest}
                )  # fmt: skip
                rows["history"] += [
                    [digest, epoch, 0.5, "validation", "accuracy", value]
                    for epoch, value in enumerate(curve, 1)
                ]
            rows["trajectories"] += [
                [f"{task}{rate}all_biases{seed}", "projection", epoch, 0.2, 0.1, 0.2 + apart]
                for epoch, apart in enumerate(scores.get(rate, []), 1)
            ]
    names = {n: COLUMNS[n] for n in ("history", "trajectories")}
    made = {name: pd.DataFrame(rows[name], columns=names[name]) for name in names}
    return frames_of({}, runs=pd.DataFrame(rows["runs"]), **made)


def cells(frames: Frames, rate: str) -> dict[str, Shown]:
    part = extension(frames).parts[0]
    (row,) = [row for row in part.rows if row[2].text == rate]
    return dict(zip(part.columns, row, strict=True))


GROWING = {1e-4: [0.01, 0.02], 1e-3: [0.03, 0.04]}


def test_each_learning_rate_has_a_row_of_its_own() -> None:
    """A mean over both rates would be a number of neither."""
    frames = study(GROWING)
    low, high = cells(frames, "0.0001"), cells(frames, "0.001")
    assert plain(low["b_v"]) == "30.0 ± 0.0 (n=2)" and plain(high["b_v"]) == "80.0 ± 0.0 (n=2)"
    assert (low["score v"].text, high["score v"].text) == ("0.220", "0.240")
    assert plain(low["b_v minus all"]) == "-20.0 (0/2 seeds)"
    assert plain(high["b_v minus all"]) == "+30.0 (2/2 seeds)"
    assert plain(high["b_k"]) == "— not planned"


@pytest.mark.parametrize(
    ("scores", "epochs", "together", "last"),
    [
        # metric gaps are .1 .2 .3 .7 in this order
        (GROWING, "+1.00 (n=2)", "+1.00 (n=4)", "+1.00 (n=2)"),
        ({1e-4: [0.04, 0.03], 1e-3: [0.02, 0.01]}, "-1.00 (n=2)", "-1.00 (n=4)", "-1.00 (n=2)"),
        # ranks 1 2 3 4 against 3 1 2 4: 1 - 6 * (4 + 1 + 1 + 0) / (4 * 15) = 0.4
        ({1e-4: [0.03, 0.01], 1e-3: [0.02, 0.04]}, "-1.00 (n=2)", "+0.40 (n=4)", "+1.00 (n=2)"),
        ({1e-4: [0.01, 0.01], 1e-3: [0.01, 0.01]}, "—", "—", "—"),
        ({1e-4: [0.01, 0.02]}, "+1.00 (n=2)", "+1.00 (n=2)", "—"),
        ({}, "—", "—", "—"),
    ],
)
def test_gaps_of_scores_against_gaps_of_metrics(scores, epochs, together, last) -> None:
    frames = study(scores)
    assert plain(cells(frames, "0.0001")["gaps over epochs"]) == epochs
    final = extension(frames).parts[-1].rows[0]
    assert [plain(cell) for cell in final[3:]] == [together, last]


def joined(*parts: Frames) -> Frames:
    names = ("runs", "history", "trajectories")
    return frames_of({}, **{n: pd.concat([getattr(p, n) for p in parts]) for n in names})


def test_tasks_of_one_rate_stand_there_only_where_none_has_several() -> None:
    single = study(GROWING, {1e-3: RATES[1e-3]}, task="one")
    assert {row[0].text for row in extension(single).parts[0].rows} == {"one"}
    both = joined(single, study(GROWING))
    assert {row[0].text for row in extension(both).parts[0].rows} == {"t"}


def test_runs_that_do_not_count_are_said_at_their_rate_alone() -> None:
    frames = study(GROWING)
    lost = (frames.runs["digest"] == "t0.001b_v1").to_numpy()
    runs = frames.runs.assign(status=frames.runs["status"].mask(lost, "diverged"))
    frames = replace(frames, runs=runs)
    assert plain(cells(frames, "0.001")["b_v"]) == "80.0 (n=1) 1/2 diverged"
    assert plain(cells(frames, "0.001")["b_v minus all"]) == "+30.0 (1/1 seeds)"
    assert plain(cells(frames, "0.0001")["b_v"]) == "30.0 ± 0.0 (n=2)"


def test_csv_has_every_epoch() -> None:
    tidy = extension(study(GROWING)).tidy
    assert len(tidy) == 2 * 3 * 2  # rates, techniques, epochs
    row = tidy[(tidy["technique"] == "b_v") & (tidy["learning_rate"] == 1e-3)].iloc[0]
    assert (row["epoch"], row["mean"], row["score"]) == (1, pytest.approx(0.4), pytest.approx(0.23))
    assert (row["n"], row["scored"], row["planned"]) == (2, 2, 2)


def test_only_tables_that_compare_settings_see_further_ones(tmp_path) -> None:
    frames = study(GROWING)
    frames.settings.update(tables=["extension", "selection"], figures=[])
    build.write_tables(frames, tmp_path)
    text = (tmp_path / "tables" / "extension.md").read_text()
    assert "| 0.0001 |" in text and "| 0.001 |" in text
    assert tables.registry.selection(build.seen("selection", frames)).tidy["lead"].iloc[
        0
    ] == pytest.approx(
        0.2  # the first rate alone
    )


def test_figure_has_two_panels_for_each_task_and_rate() -> None:
    drawn = figures.registry.FIGURES["extension"](study(GROWING))
    assert [axes.get_title() for axes in drawn.axes[:2]] == [
        "t · low · rate 0.0001",
        "t · low · rate 0.001",
    ]
    assert len(drawn.axes) == 4
    metric, score = drawn.axes[1], drawn.axes[3]
    assert list(metric.lines[0].get_ydata()) == pytest.approx([40, 80])  # b_v
    assert list(score.lines[0].get_ydata()) == pytest.approx([0.23, 0.24])  # v


def test_a_technique_with_a_rate_of_its_own_hides_no_other_run() -> None:
    """All biases at one rate, single terms at two: three settings, none of them left out."""
    frames = study(GROWING)
    own = (frames.runs["technique"] == "all_biases") & (frames.runs["learning_rate"] == 1e-4)
    other = (frames.runs["technique"] == "all_biases") & ~own
    runs = frames.runs.assign(
        learning_rate=frames.runs["learning_rate"].where(~(own | other), 0.5)
    )[~other]
    told = replace(frames, runs=runs)
    assert plain(cells(told, "0.0001")["b_v"]).startswith("30.0")
    assert plain(cells(told, "0.001")["b_v"]).startswith("80.0")
    assert plain(cells(told, "0.5")["all_biases"]).startswith("50.0")
    assert plain(cells(told, "0.5")["b_v"]) == "— not planned"
