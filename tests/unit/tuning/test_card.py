"""The model card tells what it is given, and nothing from a file can change its form."""

import re

import numpy as np
import pytest
import yaml

from beft.tuning.adapter_format import FORMAT, Base, Facts, Quality
from beft.tuning.card import Card, DataFile, Form, escaped, render_card

CLASSES = ["bad", "fine", "good"]
EVIL = "a|b`c\n# <script>x</script> [l](http://e) ![i](j) *b* _u_ $m$ ---\n- x: y"


def facts(**changes) -> Facts:
    given: dict = {
        "format": FORMAT,
        "base": Base(hub="own/m", revision="r1", sha256={"config.json": "0"}),
        "technique": "b_v",
        "terms": ["v"],
        "pooling": "first",
        "max_length": 128,
        "precision": "float32",
        "texts": ["review"],
        "label": "stars",
        "classes": CLASSES,
        "mean": 0.0,
        "deviation": 1.0,
        "test": Quality(metric="accuracy", value=0.75, rows=4),
    }
    return Facts(**given | changes)


def card(**changes) -> Card:
    given: dict = {
        "name": "reviews-adapter",
        "files": (DataFile("reviews.csv", "ab" * 32, 1600, "training and test"),),
        "training_rows": 1596,
        "counts": {"bad": 600, "fine": 96, "good": 900},
        "settings": {"learning rate": "8e-3", "epochs": "7"},
        "candidates": (("term", "held-out"), (("v", "81.2"), ("q", "77.9"))),
        "metric": "accuracy",
        "value": 0.75,
        "low": 0.5,
        "high": 0.9,
        "guessing": 0.5,
        "truth": np.array([0, 0, 2, 2]),
        "predicted": np.array([0, 2, 2, 2]),
        "warnings": ("3 rows have the same text and different labels",),
    }
    return Card(**given | changes)


def render(a_card=None, some=None, form=None) -> tuple[dict, str]:
    """The metadata of a card, and its text."""
    form = form or Form(True, "", 2304, 22_000_000)
    text = render_card(a_card or card(), some or facts(), form, "print()\n").decode()
    _, header, body = text.split("---\n", 2)
    return yaml.safe_load(header), body


def tables(body: str) -> list[list[list[str]]]:
    """Its tables: rows of cells."""
    found = re.findall(r"(?:^\|.*\|\n)+", body, re.M)
    return [
        [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
        for table in found
    ]


def test_what_it_tells():
    header, body = render()
    assert header["base_model"] == "own/m"
    assert (header["library_name"], header["pipeline_tag"]) == ("peft", "text-classification")
    (result,) = header["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "accuracy", "value": 0.75}]
    assert "license" not in header
    for words in (
        "**accuracy 75.0 %** (95 % interval: 50.0 % to 90.0 %)",
        "most frequent class gives 50.0 %",
        "own/m (revision r1)",
        "2,304 numbers",
        "1,596 rows: 600 bad, 96 fine, 900 good",
        "- 3 rows have the same text",
        "beft predict reviews-adapter new.csv --to predicted.csv",
        "```py\nprint()\n```",
    ):
        assert words in body
    per_class, matrix, candidates, files, _ = tables(body)
    assert per_class[2:] == [
        ["bad", "100.0", "50.0", "2"],
        ["fine", "0.0", "none", "0"],
        ["good", "66.7", "100.0", "2"],
    ]
    assert matrix[2:] == [
        ["**bad**", "1", "0", "1"],
        ["**fine**", "0", "0", "0"],
        ["**good**", "0", "0", "2"],
    ]
    assert candidates == [["term", "held-out"], ["---", "---"], ["v", "81.2"], ["q", "77.9"]]
    assert files[2] == ["reviews.csv", "training and test", "1,600", f"`{'ab' * 32}`"]
    for table in tables(body):
        assert len({len(row) for row in table}) == 1


def test_a_regression():
    numbers = {"truth": np.array([1.0, 2.0, 4.0]), "predicted": np.array([1.0, 3.0, 3.0])}
    header, body = render(
        card(**numbers, counts={}, metric="spearman", value=0.866, low=None, guessing=None),
        facts(classes=[], test=Quality(metric="spearman", value=0.866, rows=3)),
    )
    assert header["metrics"] == ["spearman"]
    assert "**spearman 0.866**." in body and "confusion" not in body
    assert tables(body)[0][2][:2] == ["0.6667", "0.8165"]
    assert "in the unit of stars" in body


def test_without_peft():
    reason = "output_norm, which are not biases of linears"
    header, body = render(form=Form(False, reason, 10, 1000))
    assert header["library_name"] == "transformers"
    assert f"PEFT has no place for this adapter: {escaped(reason)}." in body
    assert "adapter_model.safetensors" not in body


def test_a_local_model_and_a_mean():
    local = Base(path="../models/m", sha256={"config.json": "0"})
    header, body = render(some=facts(base=local, pooling="mean", terms=[]))
    assert "base_model" not in header
    assert "head on the mean of all tokens of a local model, ../models/m" in body


def test_many_classes():
    names = [f"c{i}" for i in range(40)]
    draw = np.random.default_rng(0)
    some = {"truth": draw.integers(0, 40, 400), "predicted": draw.integers(0, 40, 400)}
    _, body = render(card(**some, counts=dict.fromkeys(names, 3)), facts(classes=names))
    assert "most frequent mistakes" in body
    assert len(tables(body)[1]) == 12


@pytest.mark.parametrize("evil", [EVIL, "---", "1. x", "- x", "| |", "a\\", "%}{{ 1 }}", "\x1b[0m"])
def test_nothing_from_a_file_changes_its_form(evil):
    plain = render()[1]
    names = [evil, f"{evil}2", "good"]
    header, body = render(
        card(
            name=evil,
            files=(DataFile(evil, "ab" * 32, 1600, "training and test"),),
            counts={name: 600 for name in names},
            candidates=((evil, "held-out"), ((evil, "81.2"), ("q", "77.9"))),
            warnings=(evil,),
            settings={evil: evil},
        ),
        facts(classes=names, label=evil, texts=[evil]),
    )
    assert set(header) == set(render()[0])
    assert header["model-index"][0]["results"][0]["dataset"]["name"] == " ".join(evil.split())
    shapes = [[len(row) for row in table] for table in tables(body)]
    assert shapes == [[len(row) for row in table] for table in tables(plain)]
    assert re.findall("^#+ ", body, re.M) == re.findall("^#+ ", plain, re.M)
    assert body.count("```") == plain.count("```")
    assert "<script>" not in re.sub(r"\\<", "", body)


def test_escaped():
    assert escaped("plain text, with-dash 2.5") == "plain text, with-dash 2.5"
    assert escaped("a|b\nc") == r"a\|b c"
    assert escaped("1. one") == r"1\. one"
    assert escaped("- one") == r"\- one"
    assert escaped(12) == "12"
