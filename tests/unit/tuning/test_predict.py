"""A file is predicted row by row: all columns stay, in order, in whatever format it is written."""

import csv
import json
import tracemalloc

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import own_adapters

from beft.errors import UserError
from beft.tuning import blocks
from beft.tuning.blocks import open_table
from beft.tuning.load import load, load_all
from beft.tuning.predict import predict_file

WORDS = ("good", "bad", "dull", "fine", "great", "film", "dog", "cat")
ROWS = [
    {"id": 10**17 + i, "text": f"the {WORDS[i % 8]} {WORDS[i % 5]}", "note": 'a "b",\nc;d\t|'}
    for i in range(9)
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return own_adapters.model(tmp_path_factory.mktemp("base") / "m")


@pytest.fixture(scope="module")
def folder(base, tmp_path_factory):
    return own_adapters.adapter(tmp_path_factory.mktemp("adapter") / "mine", base)


@pytest.fixture(scope="module")
def adapter(folder):
    return load(folder)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blocks, "ROWS", 4)


def write(path, rows=ROWS):
    """Rows as a file of the format that its suffix says."""
    frame = pd.DataFrame(rows)
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".tsv":
            frame.to_csv(path, index=False, sep="\t")
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".json":
            path.write_text(json.dumps(rows))
        case ".parquet":
            frame.to_parquet(path, index=False)
        case ".xlsx":
            frame.astype({"id": str} if "id" in frame else {}).to_excel(path, index=False)
    return path


def read(path) -> list[dict]:
    """The rows of a written file; of csv as texts."""
    match path.suffix:
        case ".csv" | ".tsv":
            with path.open(newline="", encoding="utf-8") as file:
                return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))
        case ".jsonl":
            return [json.loads(line) for line in path.read_text().splitlines()]
    return pq.read_table(path).to_pylist()


@pytest.mark.parametrize("end", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("begin", [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".xlsx"])
def test_formats(adapter, tmp_path, begin, end):
    source, target = write(tmp_path / f"in{begin}"), tmp_path / f"out{end}"
    (tally,) = predict_file([adapter], open_table(source), target)
    assert (tally.rows, tally.empty, tally.cut, tally.metrics()) == (9, 0, 0, {})
    found = read(target)
    answers = adapter.predict([row["text"] for row in ROWS])
    assert [list(row) for row in found] == [["id", "text", "note", "predicted", "probability"]] * 9
    for row, given, name, shares in zip(
        found, ROWS, answers.predictions, answers.probabilities, strict=True
    ):
        assert {k: str(row[k]) for k in given} == {k: str(v) for k, v in given.items()}
        assert row["predicted"] == name
        assert float(row["probability"]) == pytest.approx(shares.max(), rel=1e-5)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_parquet_keeps_its_types(adapter, tmp_path):
    table = pa.table(
        {"text": [r["text"] for r in ROWS], "when": pa.array(range(9), pa.timestamp("ms"))}
    ).replace_schema_metadata({"mine": "yes"})
    pq.write_table(table, tmp_path / "in.parquet")
    predict_file([adapter], open_table(tmp_path / "in.parquet"), tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(["text", "when"]) == table
    assert found.schema.metadata[b"mine"] == b"yes"


def test_json_lines_stay_as_they_were_written(adapter, tmp_path):
    lines = ['{"text": "dog", "n": 1.50, "m": 1e400, "x": {"y": [1]}}', '  {"text":"cat"}  ', "{}"]
    (tmp_path / "in.jsonl").write_text("\n\n".join(lines))
    (tally,) = predict_file([adapter], open_table(tmp_path / "in.jsonl"), tmp_path / "out.jsonl")
    out = (tmp_path / "out.jsonl").read_text().splitlines()
    assert out[0].startswith(lines[0][:-1] + ', "predicted": "')
    assert out[1].startswith('{"text":"cat", "predicted": "')
    assert out[2] == '{"predicted": null, "probability": null}'
    assert tally.empty == 1


def test_semicolons_stay(adapter, tmp_path):
    (tmp_path / "in.csv").write_text("text;n\ndog;1,5\ncat;2\n")
    predict_file([adapter], open_table(tmp_path / "in.csv"), tmp_path / "out.csv")
    out = (tmp_path / "out.csv").read_text().splitlines()
    assert out[0] == "text;n;predicted;probability" and out[1].startswith("dog;1,5;")
    predict_file([adapter], open_table(tmp_path / "in.csv"), tmp_path / "out.tsv")
    assert (
        (tmp_path / "out.tsv").read_text().startswith("text\tn\tpredicted\tprobability\ndog\t1,5")
    )


def test_one_column(adapter, tmp_path):
    (tmp_path / "in.csv").write_text("\ufefftext\ndog\n\ncat\n")
    (tally,) = predict_file([adapter], open_table(tmp_path / "in.csv"), tmp_path / "out.csv")
    assert tally.rows == 2 and len(read(tmp_path / "out.csv")) == 2


def test_labels_are_compared_by_value(base, tmp_path):
    """0 and 1 as numbers, floats and texts are the classes that bear these names."""
    adapter = load(own_adapters.adapter(tmp_path / "a", base, classes=("1", "0")))
    answers = adapter.predict([row["text"] for row in ROWS]).predictions
    rows = [
        {"text": row["text"], "label": float(name)} for row, name in zip(ROWS, answers, strict=True)
    ]
    rows[0]["label"] = 1.0 - rows[0]["label"]
    for end in (".csv", ".parquet", ".jsonl"):
        source = write(tmp_path / f"in{end}", rows)
        (tally,) = predict_file([adapter], open_table(source), tmp_path / f"out{end}")
        assert (tally.compared, tally.unknown, tally.unlabelled) == (9, 0, 0)
        assert tally.metrics()["accuracy"] == pytest.approx(8 / 9)


def test_labels_that_are_unknown_or_missing(adapter, tmp_path):
    labels = ["good", "", "ugly", " bad ", "GOOD"]
    rows = [{"text": "dog" if i else "", "label": label} for i, label in enumerate(labels)]
    source = write(tmp_path / "in.csv", rows)
    (tally,) = predict_file([adapter], open_table(source), tmp_path / "out.csv")
    assert (tally.empty, tally.unlabelled, tally.unknown, tally.compared) == (1, 1, 2, 1)
    assert tally.first_unknown == "row 2 (line 4): 'ugly'"
    assert [row["predicted"] == "" for row in read(tmp_path / "out.csv")] == [True, *[False] * 4]


def test_numbers(base, tmp_path):
    adapter = load(own_adapters.adapter(tmp_path / "a", base, classes=(), mean=3.0, deviation=0.5))
    values = adapter.predict([row["text"] for row in ROWS]).predictions
    rows = [
        {"text": row["text"], "label": f"{value + 1:.6f}".replace(".", ",")}
        for row, value in zip(ROWS, values, strict=True)
    ]
    source = write(tmp_path / "in.csv", rows)
    (tally,) = predict_file([adapter], open_table(source), tmp_path / "out.csv")
    metrics = tally.metrics()
    assert metrics["mae"] == pytest.approx(1, abs=1e-4)
    assert metrics["rmse"] == pytest.approx(1, abs=1e-4)
    assert metrics["spearman"] == pytest.approx(1)
    found = read(tmp_path / "out.csv")
    assert list(found[0]) == ["text", "label", "predicted"]
    assert [float(row["predicted"]) for row in found] == pytest.approx(values.tolist(), rel=1e-5)


def test_several_adapters(base, folder, tmp_path):
    other = own_adapters.adapter(tmp_path / "other", base, seed=5, classes=(), texts=["note"])
    adapters = load_all([folder, other])
    source = write(tmp_path / "in.csv")
    tallies = predict_file(adapters, open_table(source), tmp_path / "out.csv")
    assert [tally.name for tally in tallies] == ["mine", "other"]
    found = read(tmp_path / "out.csv")
    names = ["predicted_mine", "probability_mine", "predicted_other"]
    assert list(found[0]) == ["id", "text", "note", *names]
    alone = adapters[0].predict([row["text"] for row in ROWS]).predictions
    assert [row["predicted_mine"] for row in found] == alone.tolist()
    values = adapters[1].predict([row["note"] for row in ROWS]).predictions
    assert [float(row["predicted_other"]) for row in found] == pytest.approx(
        values.tolist(), abs=1e-5
    )


def test_two_of_one_name(base, folder, tmp_path):
    twin = own_adapters.adapter(tmp_path / "mine", base, seed=5)
    with pytest.raises(UserError, match="mine: two adapters are called 'mine'"):
        table = open_table(write(tmp_path / "in.csv"))
        predict_file(load_all([folder, twin]), table, tmp_path / "out.csv")


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ([{"test": "a"}], {}, r"in.csv: no column 'text' \(did you mean 'test'\?\); .* --text"),
        (ROWS, {"texts": ["tex"]}, r"no column 'tex' \(did you mean 'text'\?\)"),
        (ROWS, {"texts": ["text", "note"]}, r"--text: 2 columns, but .*mine reads 1 \(text\)"),
        (ROWS, {"label": "stars"}, r"no column 'stars' .* --label"),
        ([{"text": "a", "predicted": 1}], {}, "a column 'predicted' already"),
        ([{"text": "a", "probability": 1}], {}, "a column 'probability' already"),
    ],
)
def test_wrong_columns(adapter, tmp_path, rows, options, words):
    table = open_table(write(tmp_path / "in.csv", rows))
    with pytest.raises(UserError, match=words):
        predict_file([adapter], table, tmp_path / "out.csv", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("in.csv", b"", "in.csv: .*the file is empty"),
        ("in.csv", b"text\n", "in.csv: it has no rows"),
        ("in.csv", b"text,n\na,1\nb\n", "line 3: 1 fields, but the first row has 2"),
        ("in.csv", b'text,n\n"a,1\nb,2\n', "line 2: a quote opens here and is never closed"),
        ("in.csv", b"text,n\na,1\n\xff,2\n", "line 3 is not UTF-8"),
        ("in.csv", "text,n\na,1\n".encode("utf-16"), "UTF-16"),
        ("in.csv", b"text,text\na,b\n", "2 columns are named 'text'"),
        ("in.jsonl", b'{"text": "a"}\n{"text": \n', "line 2: "),
        ("in.jsonl", b'{"text": "a"}\n[1]\n', "line 2: not an object"),
        ("in.jsonl", b'{"text": "a"}\n{"text": [1]}\n', r"row 1 \(line 2\): column 'text' holds"),
        ("in.jsonl", b'{"text": "\\ud800"}\n', r"row 0 \(line 1\): column 'text'"),
        ("in.parquet", b"PAR1", "in.parquet: not readable as parquet"),
        ("in.txt", b"a", "in.txt"),
    ],
)
def test_wrong_files(adapter, tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        predict_file([adapter], open_table(tmp_path / name), tmp_path / "out.csv")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_no_file(tmp_path):
    with pytest.raises(UserError, match="in.csv: no such file"):
        open_table(tmp_path / "in.csv")
    with pytest.raises(UserError, match="it is not a file; give one that ends in .csv"):
        open_table(tmp_path)


def test_a_format_that_is_not_written(adapter, tmp_path):
    table = open_table(write(tmp_path / "in.csv"))
    with pytest.raises(UserError, match="out.xlsx: .* .csv, .tsv, .jsonl, .parquet"):
        predict_file([adapter], table, tmp_path / "out.xlsx")


def test_a_row_that_is_wrong_leaves_nothing(adapter, tmp_path):
    """The mistake is in the last block, when the others have been predicted."""
    rows = [*ROWS, {"text": ["list"]}]
    table = open_table(write(tmp_path / "in.jsonl", rows))
    (tmp_path / "out.jsonl").write_text("mine")
    with pytest.raises(UserError, match=r"row 9 \(line 10\)"):
        predict_file([adapter], table, tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_a_quote_that_is_never_closed_in_a_large_file(tmp_path, monkeypatch):
    monkeypatch.setattr("beft.tuning.lines.LONGEST", 1000)
    (tmp_path / "in.csv").write_text('text,n\n"a,1\n' + "b,2\n" * 1000)
    with pytest.raises(UserError, match="more than 1,000 characters; is a quote never closed"):
        open_table(tmp_path / "in.csv")


@pytest.mark.parametrize("name", ["in.csv", "in.jsonl", "in.parquet"])
def test_memory_stays_bounded(adapter, tmp_path, monkeypatch, name):
    """A file of 64 MB is predicted in a fraction of that, whatever is in its other columns."""
    monkeypatch.setattr(blocks, "ROWS", 4096)
    monkeypatch.setattr(blocks, "SIZE", 2**20)
    filling, count = "x y " * 2**13, 2000  # 32 KB a row
    source = tmp_path / name
    if name == "in.parquet":
        batch = pa.table({"text": ["dog"] * 100, "more": [f"{i} {filling}" for i in range(100)]})
        with pq.ParquetWriter(source, batch.schema, use_dictionary=False) as writer:
            for _ in range(count // 100):
                writer.write_table(batch)
    else:
        with source.open("w") as file:
            file.write("text,more\n" if name == "in.csv" else "")
            for i in range(count):
                row = {"text": "dog", "more": f"{i} {filling}"}
                line = f"dog,{row['more']}" if name == "in.csv" else json.dumps(row)
                file.write(f"{line}\n")
    pool = pa.proxy_memory_pool(pa.default_memory_pool())  # counts from here on
    whole = pa.default_memory_pool()
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        table = open_table(source)
        (tally,) = predict_file([adapter], table, tmp_path / f"out{source.suffix}")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(whole)
    assert tally.rows == count
    assert peak < 2**24
    if name == "in.parquet" and pool.max_memory() is not None:
        assert 0 < pool.max_memory() < 2**26
