"""Classification layers that come with a checkpoint: kept, put in order, or dropped."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import tiny
from transformers import AutoModelForSequenceClassification

from beft.models.encoder import Encoder, load_encoder

LAYER = {"bert": "classifier", "roberta": "classifier.out_proj", "opt": "score"}


@pytest.fixture(scope="session")
def tuned(tmp_path_factory) -> Callable[..., Path]:
    """A checkpoint with a classification layer of so many outputs, made once."""
    made = {}

    def make(architecture: str, outputs: int) -> Path:
        key = (architecture, outputs)
        if key not in made:
            folder = tmp_path_factory.mktemp(architecture)
            auto = AutoModelForSequenceClassification
            made[key] = tiny.checkpoint(architecture, folder, auto=auto, num_labels=outputs)
        return made[key]

    return make


@pytest.fixture
def named(tuned, tmp_path) -> Callable[..., Path]:
    """The same with these names of classes in config.json; None for no mention of them."""

    def make(architecture: str, outputs: int, names: object) -> Path:
        folder = Path(shutil.copytree(tuned(architecture, outputs), tmp_path / "model"))
        content = json.loads((folder / "config.json").read_text())
        for key in ("id2label", "label2id", "num_labels"):
            content.pop(key, None)
        if isinstance(names, list):
            names = {str(i): name for i, name in enumerate(names)}
        content |= {"id2label": names} if names is not None else {}
        (folder / "config.json").write_text(json.dumps(content))
        return folder

    return make


def loaded(folder: Path, wanted: list[str], caplog) -> tuple[Encoder, str]:
    """An encoder for these classes, and the one line that was logged about it."""
    with caplog.at_level(logging.INFO, logger="beft"):
        encoder = load_encoder(folder, len(wanted) or 1, classes=wanted, name="mini")
    said = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
    assert len(said) == 1 and "\n" not in said[0] and "'mini'" in said[0]
    return encoder, said[0]


def rows(encoder: Encoder, layer: str) -> torch.Tensor:
    return encoder.model.get_submodule(layer).weight.detach()


def stored(folder: Path, layer: str) -> torch.Tensor:
    return load_file(folder / "model.safetensors")[f"{layer}.weight"]


@pytest.mark.parametrize("architecture", LAYER)
@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["good", "bad"], ["good", "bad"]),
        (["1", "0"], ["1", "0"]),
        (["True", "false"], ["true", "False"]),  # one value, written differently
        ([1.0, 2], ["1", "2.0"]),
        ([" good", "bad "], ["good", "bad"]),
        (["LABEL_0", "LABEL_1"], ["good", "bad"]),
        (None, ["good", "bad"]),
        (["a", "b", "c"], ["a", "b", "c"]),
        (["score"], []),
        (None, []),
    ],
    ids=str,
)
def test_a_layer_of_the_tasks_classes_is_kept(named, caplog, architecture, names, wanted):
    folder, layer = named(architecture, len(wanted) or 1, names), LAYER[architecture]
    encoder, said = loaded(folder, wanted, caplog)
    assert encoder.inherited is not None and encoder.inherited.fate == "kept"
    assert torch.equal(rows(encoder, layer), stored(folder, layer))
    assert not any(name.startswith(layer) for name in encoder.fresh)
    assert "is kept" in said
    unnamed = bool(wanted) and (names is None or names[0] == "LABEL_0")
    assert ("have no names" in said) is unnamed


@pytest.mark.parametrize("architecture", LAYER)
@pytest.mark.parametrize(
    ("names", "wanted", "order"),
    [
        (["good", "bad"], ["bad", "good"], [1, 0]),
        (["0", "1"], ["1", "0"], [1, 0]),
        (["a", "b", "c"], ["b", "c", "a"], [1, 2, 0]),
        (
            {"2": "c", "0": "a", "1": "b"},
            ["c", "a", "b"],
            [2, 0, 1],
        ),  # the keys count, not the order
    ],
    ids=str,
)
def test_rows_of_the_same_classes_are_put_in_the_tasks_order(
    named, caplog, architecture, names, wanted, order
):
    folder, layer = named(architecture, len(wanted), names), LAYER[architecture]
    encoder, said = loaded(folder, wanted, caplog)
    assert encoder.inherited is not None and encoder.inherited.fate == "reordered"
    assert torch.equal(rows(encoder, layer), stored(folder, layer)[order])
    plain = load_encoder(folder, len(wanted))  # by whom no classes are asked for
    batch = plain.tokenizer(["the film is good", "a dog"], padding=True, return_tensors="pt")
    with torch.no_grad():
        logits, expected = (e.model(**batch).logits for e in (encoder, plain))
    torch.testing.assert_close(logits, expected[:, order], rtol=0, atol=0)
    assert f"({', '.join(wanted)})" in said and "in the order" in said


@pytest.mark.parametrize("architecture", LAYER)
@pytest.mark.parametrize(
    ("names", "outputs", "wanted"),
    [
        (["good", "bad"], 2, ["positive", "negative"]),
        (["Good", "Bad"], 2, ["good", "bad"]),
        (["good", "good"], 2, ["good", "bad"]),
        (["a", "b", "c"], 3, ["a", "b"]),
        (["a", "b"], 2, ["a", "b", "c"]),
        (["LABEL_0", "LABEL_1"], 2, ["a", "b", "c"]),
        (["a", "b", "c"], 2, ["a", "b"]),  # config.json does not fit the weights
        (None, 1, ["a", "b"]),
        (["a", "b"], 2, []),
    ],
    ids=str,
)
def test_a_layer_of_other_classes_is_dropped(named, caplog, architecture, names, outputs, wanted):
    folder, layer = named(architecture, outputs, names), LAYER[architecture]
    encoder, said = loaded(folder, wanted, caplog)
    assert encoder.inherited is not None and encoder.inherited.fate == "dropped"
    assert encoder.inherited.outputs == outputs
    assert {n for n in encoder.fresh if n.startswith(f"{layer}.")} == {
        f"{layer}.{name}" for name, _ in encoder.model.get_submodule(layer).named_parameters()
    }
    there = stored(folder, layer)
    if len(wanted) == outputs:
        assert not torch.equal(rows(encoder, layer), there)
    assert "a new one is drawn" in said and f"({outputs} output" in said


def test_a_dropped_layer_is_drawn_as_if_there_had_been_none(named, tuned, caplog, tmp_path):
    encoder, _ = loaded(named("bert", 2, ["x", "y"]), ["good", "bad"], caplog)
    bare = load_encoder(tiny.checkpoint("bert", tmp_path / "bare"), 2)
    assert encoder.fresh == bare.fresh and encoder.head == bare.head
    assert torch.equal(rows(encoder, "classifier"), rows(bare, "classifier"))


@pytest.mark.parametrize("architecture", [*LAYER, "distilbert", "electra", "modernbert"])
def test_nothing_is_said_where_no_layer_came(tmp_path, caplog, architecture):
    folder = tiny.checkpoint(architecture, tmp_path)
    with caplog.at_level(logging.INFO, logger="beft"):
        encoder = load_encoder(folder, 2, classes=["good", "bad"])
    assert encoder.inherited is None and not caplog.records


@pytest.mark.parametrize("names", [["good", "bad"], ["a", "b"]])
def test_a_head_that_reads_the_mean_replaces_the_checkpoints(named, caplog, names):
    with caplog.at_level(logging.INFO, logger="beft"):
        encoder = load_encoder(named("bert", 2, names), 2, classes=["good", "bad"], pooling="mean")
    assert encoder.inherited is not None and encoder.inherited.fate == "replaced"
    assert encoder.fresh == ("classifier.weight", "classifier.bias")
    assert len(caplog.records) == 1 and "reads the mean" in caplog.text
