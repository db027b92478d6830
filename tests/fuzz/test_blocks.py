"""Whatever a file holds, reading it in blocks gives what reading it whole gives, or one line."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import fuzzed

from beft.errors import UserError
from beft.tuning import blocks
from beft.tuning.blocks import open_table
from beft.tuning.files import read_file

SIGNS = st.sampled_from(
    ["a", "b", "1", ",", ";", "\t", "|", '"', '""', "\n", "\r\n", "\r", " ", "\ufeff", "é", "sep=;"]
)
CSV = st.lists(SIGNS, max_size=40).map("".join)
JSON = st.lists(
    st.sampled_from(
        ['{"a": ', '"x"', "1.50", "}", "\n", ', "b": ', "null", "[1]", "{}", "NaN", "\u2028", " "]
    ),
    max_size=20,
).map("".join)


def read_in_blocks(path: Path) -> dict[str, list]:
    table = open_table(path)
    once = [name for name in table.names if table.names.count(name) == 1]
    found: dict[str, list] = {name: [] for name in once}
    for block in table.blocks():
        for name in once:
            found[name] += block.column(name)
    assert all(len(values) == table.rows for values in found.values())
    return found


def attempt(read, path: Path):
    try:
        return read(path)
    except UserError as error:
        assert "\n" not in str(error)
        return None


def same(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        kept, blocks.ROWS = blocks.ROWS, 2
        try:
            parts = attempt(read_in_blocks, path)
        finally:
            blocks.ROWS = kept
        whole = attempt(read_file, path)
        assert (parts is None) == (whole is None)
        if whole is not None:
            shown = {n: [None if v == "" else v for v in c] for n, c in whole.columns.items()}
            assert repr(parts) == repr(shown)


@fuzzed
@given(text=CSV, suffix=st.sampled_from([".csv", ".tsv"]))
def test_csv(text, suffix):
    same(f"in{suffix}", text.encode())


@fuzzed
@given(text=JSON)
def test_json_lines(text):
    same("in.jsonl", text.encode())
