"""Intervals and comparisons of a study, from its runs and what each example adds."""

import copy
import math
from itertools import count

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save
from scipy import stats
from support import sandbox

from beft.report.frames import uncertainty as U
from beft.report.frames.columns import COLUMNS
from beft.report.statistics.resampling import flip_test, interval, resamples, weigh
from beft.study.project import load
from beft.tasks.metrics import sums

KEYS = ["model", "task", "regime", "technique"]
N = 80


class Study:
    """Runs whose right and wrong answers a test gives."""

    def __init__(self) -> None:
        self.runs, self.evaluations, self.columns = [], [], {}
        self.numbers = count()

    def run(self, technique: str, seed: int, share: float, status="ok", kept=True, **more) -> str:
        """A run that is right in this share of the examples, drawn by seed; its digest."""
        digest, metric = f"{next(self.numbers):012x}", more.get("metric", "accuracy")
        where = {"model": "m", "task": "t", "regime": "low", **more}
        rng = np.random.default_rng([seed, int(1000 * share)])
        truth = rng.integers(0, 2, N)
        said = np.where(rng.random(N) < share, truth, 1 - truth)
        found = sums.columns(metric, said, truth)
        value = float(sums.value(metric, found.sum(axis=0), N))
        run = {**where, "technique": technique, "seed": seed, "metric": metric, "digest": digest}
        self.runs.append({**run, "status": status})
        if status == "ok":
            row = {"digest": digest, "split": "validation", "metric": metric}
            self.evaluations.append({**row, "best": value, "last": value})
        if kept:
            table = sums.smallest(found)
            self.columns[digest] = {e: {"validation": table} for e in ("best", "last")}
        return digest

    def frames(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        tables = {"runs": self.runs, "evaluations": self.evaluations}
        return tuple(pd.DataFrame(r, columns=COLUMNS[n]) for n, r in tables.items())

    def tables(self) -> dict[str, pd.DataFrame]:
        return U.tables(*self.frames(), lambda digest: self.columns.get(digest, {}))


@pytest.fixture
def study() -> Study:
    made = Study()
    for technique, share in (("b_q", 0.6), ("b_v", 0.9), ("full", 0.9)):
        for seed in range(5):
            made.run(technique, seed, share)
    return made


def test_one_row_per_cell_and_epoch(study):
    found = study.tables()["intervals"]
    assert list(found.columns) == COLUMNS["intervals"]
    assert len(found) == 3 * 2 and (found["runs"] == 5).all() and (found["examples"] == N).all()
    means = study.frames()[0].merge(study.frames()[1], on="digest").groupby("technique")["best_y"]
    for row in found.itertuples():
        assert row.low < means.mean()[row.technique] < row.high
        assert row.note == ""


def test_an_interval_is_that_of_its_runs_columns(study):
    """The same numbers, from the parts of `beft.report.statistics.resampling`."""
    digests = [r["digest"] for r in study.runs if r["technique"] == "b_v"]
    columns = np.stack([study.columns[d]["best"]["validation"] for d in digests])
    values = weigh(resamples(N, "t", "validation"), columns)[..., 0] / N
    found = study.tables()["intervals"].set_index(["technique", "epoch"]).loc[("b_v", "best")]
    expected = interval(values.astype(float))
    assert (found["low"], found["high"]) == pytest.approx(expected, abs=1e-6)


def test_pairs_are_the_terms_and_others_with_b_v(study):
    for seed in range(5):
        study.run("b_k", seed, 0.5)
        study.run("zero_shot", seed, 0.5)
    found = study.tables()["comparisons"]
    pairs = found[found["epoch"] == "best"][["first", "second"]].itertuples(index=False, name=None)
    assert list(pairs) == [("b_v", "b_q"), ("b_v", "b_k"), ("b_q", "b_k"), ("b_v", "full")]
    assert (found["family"] == 4).all()


def test_a_comparison_pairs_seeds_and_finds_what_differs(study):
    found = study.tables()["comparisons"].query("epoch == 'best'").set_index("second")
    values = {(r["technique"], r["seed"]): e["best"]
              for r, e in zip(study.runs, study.evaluations, strict=True)}  # fmt: skip
    differences = np.array([values["b_v", s] - values["b_q", s] for s in range(5)])
    row = found.loc["b_q"]
    assert row["difference"] == pytest.approx(differences.mean(), abs=1e-6)
    assert row["low"] < row["difference"] < row["high"] and row["low"] > 0
    assert row["p_runs"] == flip_test(differences) == 0.0625
    assert 0 < row["p_examples"] <= 1 / 5001
    # two comparisons: Holm doubles the smaller p
    assert row["p_examples_corrected"] == 2 * row["p_examples"]
    assert row["p_runs_corrected"] == pytest.approx(0.125)
    assert found.loc["full", "p_examples"] > 0.05


def test_only_runs_that_are_ok_count_and_the_first_of_several_settings(study):
    expected = study.tables()
    study.run("b_v", 0, 0.2)  # another learning rate
    study.run("full", 5, 0.2, status="diverged")
    for name, table in study.tables().items():
        pd.testing.assert_frame_equal(table, expected[name])


def test_a_failed_first_setting_is_not_replaced_by_a_later_one(study):
    study.runs[0]["status"] = "failed"
    study.evaluations.pop(0)
    study.run("b_q", 0, 0.6)
    found = study.tables()["intervals"].set_index(["technique", "epoch"])
    assert found.loc[("b_q", "best"), "runs"] == 4


def test_seeds_that_one_of_the_two_lacks_are_left_out(study):
    study.run("b_v", 7, 0.9)
    study.run("full", 8, 0.9)
    found = study.tables()["comparisons"]
    assert (found["runs"] == 5).all()


def test_results_depend_neither_on_other_cells_nor_on_their_order(study):
    expected = study.tables()
    for seed in range(3):
        study.run("b_v", seed, 0.7, model="other")
        study.run("b_v", seed, 0.7, task="other")
    study.runs.reverse()
    found = study.tables()["intervals"]
    mine = found[(found["model"] == "m") & (found["task"] == "t")]
    keys = [*KEYS, "epoch"]
    pd.testing.assert_frame_equal(
        mine.sort_values(keys).reset_index(drop=True),
        expected["intervals"].sort_values(keys).reset_index(drop=True),
    )


@pytest.mark.parametrize(("seeds", "defined"), [(1, False), (2, False), (3, True), (5, True)])
def test_without_examples_only_runs_vary(seeds, defined):
    made = Study()
    for seed in range(seeds):
        for technique, share in (("b_v", 0.9), ("b_q", 0.6)):
            made.run(technique, seed, share, kept=False)
    for table in made.tables().values():
        assert (table["examples"] == 0).all() and (table["runs"] == seeds).all()
        assert table["note"].str.contains("was not kept").all()
        assert table["low"].notna().all() == table["high"].notna().all() == defined
    compared = made.tables()["comparisons"]
    assert compared["p_examples"].isna().all()
    assert compared["p_runs"].isna().all() == (seeds == 1)


def test_with_one_run_only_examples_vary():
    """The standard error of a share p of n right answers is sqrt(p (1 - p) / n)."""
    made = Study()
    made.run("b_v", 0, 0.8)
    found = made.tables()["intervals"].iloc[0]
    p = made.evaluations[0]["best"]
    width = 2 * stats.norm.ppf(0.975) * math.sqrt(p * (1 - p) / N)
    assert found["high"] - found["low"] == pytest.approx(width, rel=0.1)
    assert found["note"] == "one run: over examples alone"


def test_runs_of_which_some_have_no_examples_are_one_cell_of_runs(study):
    del study.columns[next(r["digest"] for r in study.runs if r["technique"] == "b_v")]
    found = study.tables()
    cells = found["intervals"].query("epoch == 'last'").set_index("technique")
    assert cells["examples"].to_dict() == {"b_q": N, "b_v": 0, "full": N}
    assert cells.loc["b_v", "note"].startswith("over runs alone")
    assert found["comparisons"]["p_examples"].isna().all()


@pytest.mark.parametrize("kept", [True, False])
def test_an_interval_stays_within_the_metric(kept):
    made = Study()
    for seed, share in enumerate((1.0, 0.95, 0.9)):
        made.run("b_v", seed, share, kept=kept)
    assert (made.tables()["intervals"]["high"] == 1).all()


@pytest.mark.parametrize(("kept", "seeds"), [(True, 2), (False, 3)])
@pytest.mark.parametrize(("metric", "widest"), [("accuracy", 1), ("matthews", 2)])
def test_a_difference_stays_within_what_two_values_can_differ(kept, seeds, metric, widest):
    made = Study()
    for seed in range(seeds):  # of which one has the terms far apart and the others not
        made.run("b_v", seed, 1.0, kept=kept, metric=metric)
        made.run("b_q", seed, 1.0 if seed else 0.0, kept=kept, metric=metric)
    found = made.tables()["comparisons"]
    assert (found["low"] >= -widest).all() and (found["high"] == widest).all()


def test_runs_that_know_different_numbers_of_classes_are_laid_side_by_side():
    made = Study()
    for seed in range(2):
        digest = made.run("b_v", seed, 0.8, metric="matthews")
        if seed:  # a class that this run alone predicted, nowhere counted
            made.columns[digest] = {
                epoch: {"validation": np.pad(tables["validation"], ((0, 0), (0, 2)))}
                for epoch, tables in made.columns[digest].items()
            }
    narrow = Study()
    for seed in range(2):
        narrow.run("b_v", seed, 0.8, metric="matthews")
    pd.testing.assert_frame_equal(made.tables()["intervals"], narrow.tables()["intervals"])


def test_nothing_has_no_rows():
    for name, table in Study().tables().items():
        assert table.empty and list(table.columns) == COLUMNS[name]


def test_a_project_reads_what_its_runs_kept(tmp_path):
    sandbox.make(tmp_path, copy.deepcopy(sandbox.PARAMS), sandbox.STUDY | {"selectors": []})
    project = load(tmp_path / "params.yaml")
    recipe = project.recipes[0]
    folder = project.layout.run(recipe)
    folder.mkdir(parents=True)
    column = np.arange(6, dtype=np.uint8)[:, None] % 2
    (folder / "examples.safetensors").write_bytes(save({"best/validation": column}))
    where = {"model": "m", "task": "t", "regime": "low", "technique": "b_v", "seed": 0}
    run = {**where, "metric": "accuracy", "status": "ok", "digest": recipe.digest}
    row = {"digest": recipe.digest, "split": "validation", "metric": "accuracy"}
    frames = [
        pd.DataFrame([r], columns=COLUMNS[n])
        for n, r in (("runs", run), ("evaluations", {**row, "best": 0.5, "last": 0.5}))
    ]
    found = U.collect(project, *frames)["intervals"].set_index("epoch")
    assert found["examples"].to_dict() == {"best": 6, "last": 0}
