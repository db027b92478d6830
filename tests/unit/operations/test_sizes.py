"""Sizes of models and tasks: what definitions, files and the table say, and what is guessed."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from beft.operations import sizes
from beft.study import params as P

ROOT = Path(__file__).resolve().parents[3]
# (layers, width, words, all parameters) of published checkpoints, from their config.json; inner
# parameters by hand: 12 width^2 a layer (Llama: 4 width^2 + 3 x 11,008 width), biases left out.
REAL = {
    "bert-base-cased": (12, 768, 12 * 12 * 768**2),
    "bert-large-cased": (24, 1024, 24 * 12 * 1024**2),
    "roberta-base": (12, 768, 12 * 12 * 768**2),
    "opt-1.3b": (24, 2048, 24 * 12 * 2048**2),
    "opt-6.7b": (32, 4096, 32 * 12 * 4096**2),
    "llama-2-7b": (32, 4096, 32 * (4 * 4096**2 + 3 * 11_008 * 4096)),
    "gpt-j-6b": (28, 4096, 28 * 12 * 4096**2),
}


@pytest.mark.parametrize("alias", REAL)
def test_a_model_is_known_before_its_weights_are_there(alias, tmp_path):
    layers, width, inner = REAL[alias]
    model = P.load_params(ROOT / "params.yaml").models[alias]
    found = sizes.shape(tmp_path, model)
    assert found.parameters == model.parameters
    assert found.inner == pytest.approx(inner, rel=0.12)
    assert found.layers * found.width == pytest.approx(layers * width, rel=0.2)


def test_every_hub_model_of_ours_says_its_size():
    models = P.load_params(ROOT / "params.yaml").models
    assert [alias for alias, m in models.items() if m.hub and not m.parameters] == []


def checkpoint(folder: Path, **config) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file({"a": np.zeros((50, 8), "f2")}, folder / "model-00001-of-00002.safetensors")
    save_file({"b": np.zeros((3, 4, 5), "f4")}, folder / "model-00002-of-00002.safetensors")
    return folder


def test_a_model_without_a_size_is_counted_in_its_files(tmp_path):
    checkpoint(tmp_path / "m", hidden_size=8, num_hidden_layers=2, vocab_size=50)
    found = sizes.shape(tmp_path, P.Model(path="m"))
    assert found == sizes.Shape(50 * 8 + 3 * 4 * 5, 3 * 4 * 5, 2, 8)


def test_a_model_in_the_mirror_is_found_and_its_definition_wins(tmp_path, monkeypatch):
    monkeypatch.setenv("BEFT_MIRROR", str(tmp_path / "shared"))
    checkpoint(tmp_path / "shared/models/own/m", n_embd=4, n_layer=3, vocab_size=10)
    assert sizes.shape(tmp_path, P.Model(hub="own/m", revision="r")).parameters == 460
    said = sizes.shape(tmp_path, P.Model(hub="own/m", revision="r", parameters=1000))
    assert said == sizes.Shape(1000, 1000 - 10 * 4, 3, 4)


@pytest.mark.parametrize("spoil", ["nothing there", "config.json", "weights"])
def test_a_model_that_cannot_be_read_is_unknown_and_stops_nothing(tmp_path, spoil):
    model = P.Model(hub="own/m", revision="r")
    if spoil != "nothing there":
        folder = checkpoint(tmp_path / "data/mirror/models/own/m", hidden_size=8)
        name = "config.json" if spoil == "config.json" else "model-00001-of-00002.safetensors"
        (folder / name).write_bytes(b"{")
    found = sizes.shape(tmp_path, model)
    assert (found is None) is (spoil != "config.json")  # the weights still tell how many they are


TASK = {"name": "mine", "train": "train", "validation": ["dev", "test"]}


def source(folder: Path, rows: int = 1000, text: str = "x" * 400) -> Path:
    folder.mkdir()
    # No dictionary: the column's bytes are those of its texts and four for each length.
    table = pa.table({"text": [text] * rows, "label": [0] * rows})
    pq.write_table(table, folder / "train.parquet", use_dictionary=False)
    read = {"train": rows, "dev": 20, "test": 3}
    read = {"read": {name: {"rows": count} for name, count in read.items()}}
    (folder / "source.json").write_text(json.dumps(read))
    return folder


def test_rows_and_tokens_of_a_task_of_ones_own_are_those_of_its_source(tmp_path):
    assert sizes.extent(tmp_path / "s", TASK, 512) is None
    found = sizes.extent(source(tmp_path / "s"), TASK, 512)
    assert (found.train, found.validation) == (1000, 23)
    assert found.text == found.evaluated == found.prompt == pytest.approx(100, rel=0.1)
    assert sizes.extent(tmp_path / "s", TASK, 64).text == 64


def test_a_damaged_source_says_nothing(tmp_path):
    folder = source(tmp_path / "s")
    (folder / "train.parquet").write_bytes(b"PAR1")
    assert sizes.extent(folder, TASK, 64).text == 64
    (folder / "source.json").write_bytes(b"")
    assert sizes.extent(folder, TASK, 64) is None


def test_the_rows_of_a_fetched_source_take_the_place_of_the_tables(tmp_path):
    task = TASK | {"name": "rte"}
    assert sizes.extent(tmp_path / "s", task, 128) == sizes.EXTENTS["rte"]
    found = sizes.extent(source(tmp_path / "s"), task, 128)
    assert (found.train, found.validation, found.text) == (1000, 23, sizes.EXTENTS["rte"].text)


def test_the_table_has_every_task_of_the_hub_with_the_rows_of_the_mirror(mirror):
    params = P.load_params(ROOT / "params.yaml")
    assert {name for name, task in params.tasks.items() if task.hub} == set(sizes.EXTENTS)
    for name in ("sst2", "cola", "rte", "mrpc", "stsb"):  # the mirror has all of them
        folder = mirror / "datasets" / "nyu-mll" / "glue" / name
        for split in ("train", "validation"):
            rows = pq.read_metadata(folder / f"{split}.parquet").num_rows
            assert getattr(sizes.EXTENTS[name], split) == rows
