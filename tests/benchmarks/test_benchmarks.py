"""What measures speed: medians and ratios, real tokens in the floor, results that can be read."""

import json

import numpy as np
import pytest
from support import sandbox, tiny
from support.examples import encoded

from beft.models.encoder import load_encoder
from benchmarks import measure, packs


def test_alternate_takes_medians_of_seconds_and_means_of_metrics():
    order = []

    def side(name, seconds):
        def run(repeat):
            order.append((name, repeat))
            return seconds[repeat], repeat / 10

        return run

    row = measure.alternate("c", side("a", [1.0, 9.0, 2.0]), side("b", [5.0, 4.0, 30.0]), 3)
    assert order == [(n, r) for r in range(3) for n in "ab"]
    assert (row["ours_seconds"], row["peer_seconds"], row["ratio"]) == (2.0, 5.0, 2.5)
    assert row["ours_metric"] == pytest.approx(0.1) and row["repeats"] == 3


def test_the_floor_counts_real_tokens_and_what_is_read(tmp_path, monkeypatch):
    """Width 16, 24 inside, 2 layers: by hand, at a rate of one operation per second.

    A layer's q, k, v have 3 * 256 weights, what follows 256 + 2 * 384; in the last layer that is
    computed for first tokens alone. Training counts twice: forward and backward.
    """
    monkeypatch.setattr(packs, "_rate", lambda dtype: 1.0)
    encoder = load_encoder(tiny.checkpoint("bert", tmp_path), 2)
    train, validation = encoded(5, 0), encoded(7, 1)
    tokens = [sum(map(len, data.ids)) for data in (train, validation)]
    qkv, behind = 3 * 256, 256 + 2 * 384
    work = 2 * (2 * qkv + behind) * (2 * tokens[0] + tokens[1]) + 2 * behind * (2 * 5 + 7)
    assert packs.floor_seconds(encoder, train, validation)["floor_seconds"]["float32"] == work


@pytest.mark.parametrize("case", ["one_run_fp32", "one_run_best", "sweep_4x4", "fisher_1000"])
def test_results_on_file_can_be_read(case):
    results = json.loads((sandbox.ROOT / "benchmarks/results/engine.json").read_text())
    (row,) = [row for row in results["rows"] if row["case"] == case]
    assert row["ratio"] == pytest.approx(row["peer_seconds"] / row["ours_seconds"], abs=0.01)
    for side in ("ours", "peer"):
        seconds = [s for s, _ in row["raw"][side]]
        assert len(seconds) == row["repeats"]
        assert row[f"{side}_seconds"] == pytest.approx(np.median(seconds), abs=0.002)
    assert results["hardware"] and results["versions"]["torch"]
