"""The protocol that holds examples out from training to choose the epoch."""

import csv
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from support import sandbox
from support.trained import everything

from beft.adapters.merge import merge
from beft.data.subsets import hold_out
from beft.errors import UserError
from beft.report.frames.collect import collect
from beft.store.files import read_json
from beft.study.project import load
from beft.training.shared import Loader

SHARE = 0.25
STUDY = {"tasks": ["demo_similarity"], "selectors": []}  # its metric, a correlation, moves freely
RATE = 0.1  # so high that the metrics go up and down, and the splits disagree on the best epoch


def trained(folder: Path, seeds: list[int], **training: object) -> dict[tuple[str, int], Path]:
    """The runs of b_v and b_q of each seed, (technique, seed) -> folder."""
    setting = {"learning_rate": RATE, "epochs": 6, **training}
    sandbox.make(
        folder,
        study=sandbox.STUDY | STUDY | {"seeds": seeds, "training": setting},
    )
    project = everything(folder)
    return {(r.technique, r.seed): project.layout.run(r) for r in project.recipes}


def history(run: Path) -> list[dict[str, float]]:
    with (run / "history.csv").open() as file:
        return [{k: float(v or "nan") for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[tuple[str, int], Path]:
    return trained(tmp_path_factory.mktemp("held"), [0, 1], held_out=SHARE)


def test_the_last_rows_of_a_subset_are_held_out():
    rows = np.array([7, 3, 9, 1, 5, 2])
    kept, held = hold_out(rows, 1 / 3, "t")
    assert kept.tolist() == [7, 3, 9, 1] and held.tolist() == [5, 2]
    kept, held = hold_out(rows, 0.01, "t")  # never none
    assert len(held) == 1
    kept, held = hold_out(rows, 0.0, "t")
    assert kept.tolist() == rows.tolist() and not len(held)


def test_nothing_left_to_train_on_is_an_error():
    with pytest.raises(UserError, match=r"tasks.t: held_out 0.9 leaves none of 2 examples"):
        hold_out(np.array([0, 1]), 0.9, "t")


def test_the_held_out_examples_choose_the_epoch_and_validation_reports_it(runs):
    chosen_by_both = []
    for run in runs.values():
        rows, told = history(run), read_json(run / "metrics.json")
        held = [row["held_out/spearman"] for row in rows]
        reported = [row["validation/spearman"] for row in rows]
        assert told["best_epoch"] == 1 + held.index(max(held))
        assert told["splits"] == {
            "validation": {"best": reported[told["best_epoch"] - 1], "last": reported[-1]}
        }
        chosen_by_both.append(reported[told["best_epoch"] - 1] == max(reported))
    assert not all(chosen_by_both), "validation would have chosen the same epochs: nothing is shown"


def test_what_is_held_out_is_not_trained_on(runs):
    for run in runs.values():
        assert read_json(run / "metrics.json")["train_examples"] == 12  # of the regime's 16
        assert load_file(run / "predictions.safetensors")["last/held_out"].shape == (4,)


def test_a_seed_in_a_pack_is_as_alone(runs, tmp_path):
    """Each seed holds out its own examples, also beside another seed."""
    for key, alone in trained(tmp_path, [1], held_out=SHARE).items():
        for ours, theirs in zip(history(runs[key]), history(alone), strict=True):
            assert ours == pytest.approx(theirs, abs=1e-4)


def test_reports_know_the_protocol(runs, tmp_path):
    folder = next(iter(runs.values())).parents[7]
    frames = collect(load(folder / "params.yaml"))
    assert frames.settings["held_out"] == {"shares": [SHARE], "runs": 4, "trained": 4}
    assert set(frames.history["split"]) == {"held_out", "validation"}
    assert set(frames.evaluations["split"]) == {"validation"}


def test_class_weights_count_what_is_trained_on(tmp_path):
    """Of 12 rows, and not of the 4 that are held out; what is evaluated has none."""
    setting = {"held_out": SHARE, "class_weights": "balanced", "epochs": 1}
    study = sandbox.STUDY | {"selectors": [], "training": setting}
    project = everything(sandbox.make(tmp_path, study=study))
    data = Loader(project.layout, "cpu").data(project.recipes[0])
    _, place, counts = data.train.labels.unique(return_inverse=True, return_counts=True)
    expected = (12 / (len(counts) * counts))[place]
    np.testing.assert_allclose(data.train.weights, expected, rtol=1e-6)
    assert all(split.weights is None for split in data.validation.values())


def test_runs_with_held_out_examples_can_be_merged(runs, tmp_path):
    """What they answered there is no validation set, which a model is tried on."""
    folder = next(iter(runs.values())).parents[7]
    digests = [runs["b_v", seed].name for seed in (0, 1)]
    told = merge(load(folder / "params.yaml"), digests, tmp_path / "merged")
    assert [(row["split"], row["seed"]) for row in told["scores"]] == [
        ("validation", 0),
        ("validation", 1),
    ]


def test_without_it_recipes_and_history_are_as_before(tmp_path):
    found = trained(tmp_path, [0], held_out=0)
    assert list(history(found["b_v", 0])[0]) == ["epoch", "train_loss", "validation/spearman"]
    recipe = read_json(found["b_v", 0] / "recipe.json")
    assert "held_out" not in recipe["training"]
    sandbox.change(tmp_path / "studies" / "mini.yaml", "training", "held_out", to=SHARE)
    other = {r.technique: r for r in load(tmp_path / "params.yaml").recipes}["b_v"]
    assert other.training == recipe["training"] | {"held_out": SHARE}
