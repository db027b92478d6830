"""`beft predict`: what it prints, and what it refuses before anything is computed."""

import csv
import signal

import pytest
from support import own_adapters

from beft.cli.app import app
from beft.errors import UserError


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return own_adapters.model(tmp_path_factory.mktemp("base") / "m")


@pytest.fixture(scope="module")
def folder(base, tmp_path_factory):
    test = {"metric": "accuracy", "value": 0.8, "rows": 120}
    place = tmp_path_factory.mktemp("adapter") / "mine"
    return own_adapters.adapter(place, base, max_length=6, test=test)


@pytest.fixture(autouse=True)
def unchanged():
    kept = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, kept)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [("dog", "bad"), ("the film was very good", "good"), ("", "good"), ("cat", "ugly")]
    with (tmp_path / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return tmp_path


def predict(*arguments: object) -> None:
    app(["predict", *map(str, arguments), "--device", "cpu"], standalone_mode=False)


def test_what_it_prints(folder, here, capsys):
    predict(folder, "new.csv", "--to", "out/new.csv")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "out/new.csv: 4 rows"
    assert lines[1].startswith("mine: accuracy ") and "f1_macro" in lines[1]
    assert lines[1].endswith("on 2 rows with a label; its test had accuracy 80.0 % on 120")
    assert lines[2:] == [
        "mine: 1 row with a label that is not a class of the adapter, not compared; first row 3 "
        "(line 5): 'ugly'",
        "mine: 1 row with an empty text, not predicted",
        "mine: 1 row with a text that was cut at 6 tokens",
    ]
    assert len((here / "out" / "new.csv").read_text().splitlines()) == 5


def test_options(folder, here, capsys):
    predict(
        folder, "new.csv", "--to", "o.tsv", "--text", "label", "--label", "text", "--threads", 1
    )
    lines = capsys.readouterr().out.splitlines()
    assert "with a label that is not a class of the adapter, not compared; first row 0" in lines[1]
    with pytest.raises(UserError, match="o.tsv: is there already; .* --overwrite"):
        predict(folder, "new.csv", "--to", "o.tsv")
    predict(folder, "new.csv", "--to", "o.tsv", "--overwrite")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["new.csv", "--to", "out.csv"], "new.csv: no adapter is named"),
        (["{}", "new.csv", "--to", "new.csv"], "new.csv: is the file to predict"),
        (["{}", "new.csv", "--to", "."], r"--to \.: is a folder"),
        (["{}", "old.csv", "--to", "out.csv"], "old.csv: no such file"),
        (["{}", "new.csv", "--to", "out.xlsx"], "out.xlsx"),
        (["nothing", "new.csv", "--to", "out.csv"], "nothing: no such folder"),
        (["{}", "{}", "new.csv", "--to", "out.csv"], "two adapters are called 'mine'"),
        (["{}", "new.csv", "--to", "new.csv/out.csv"], "new.csv/out.csv"),
        (["{}", "new.csv", "--to", "out.csv", "--base", "."], "--base|config.json: missing"),
    ],
)
def test_mistakes(folder, here, arguments, words):
    with pytest.raises(UserError, match=words) as caught:
        predict(*(word.format(folder) for word in arguments))
    assert "\n" not in str(caught.value)
    assert [path.name for path in here.iterdir()] == ["new.csv"]
