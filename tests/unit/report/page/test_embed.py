"""Frames inside the page: every value comes back, in few bytes."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from beft.report.page.embed import pack, unpack


def there_and_back(table: pd.DataFrame, like: pd.DataFrame | None = None) -> list[list]:
    packed = json.loads(json.dumps(pack(table, like), allow_nan=False))
    return unpack(packed, like).values.tolist()


@pytest.mark.parametrize(
    "values, expected",
    [
        (["b", "a", None, "b"], ["b", "a", None, "b"]),
        ([0.1 + 0.2, math.nan, 1e-300, -0.25], [0.1 + 0.2, None, 1e-300, -0.25]),
        ([0.5, 0.5, 0.5, 0.25, 0.5, math.nan], [0.5, 0.5, 0.5, 0.25, 0.5, None]),
        ([math.inf, 1.0, -math.inf, 1.0], [math.inf, 1.0, -math.inf, 1.0]),
        (pd.array([3, None, 2**40], "Int64"), [3, None, 2**40]),
        ([True, False, True], [True, False, True]),
        (["</script>", "\u2028", "same", "same"], ["</script>", "\u2028", "same", "same"]),
        ([math.nan, math.nan], [None, None]),
        ([], []),
    ],
)
def test_values_come_back_exactly(values, expected) -> None:
    assert there_and_back(pd.DataFrame({"x": values})) == [[value] for value in expected]


@pytest.mark.parametrize("distinct", [1, 2, 256, 257, 65_536, 65_537])
def test_any_number_of_words(distinct: int) -> None:
    """At 256 and 65,536 words a code starts to take more bytes."""
    numbers = np.random.default_rng(0).permutation(np.arange(distinct).repeat(2)).tolist()
    assert there_and_back(pd.DataFrame({"x": [f"w{n}" for n in numbers]})) == [
        [f"w{n}"] for n in numbers
    ]


def test_blocks_are_written_once() -> None:
    rows = pd.DataFrame({"x": np.repeat([f"d{i}" for i in range(300)], 16)})
    column = pack(rows)["columns"]["x"]
    assert len(json.dumps({k: v for k, v in column.items() if k != "words"})) < 1500
    assert there_and_back(rows) == rows.values.tolist()


def test_words_of_another_frame() -> None:
    runs = pd.DataFrame({"digest": ["aa", "bb", "cc", "bb"]})
    rows = pd.DataFrame({"digest": ["cc", "aa", "aa", "bb"], "epoch": [1, 2, 3, 4]})
    assert "words" not in pack(rows, runs)["columns"]["digest"]
    assert there_and_back(rows, runs) == rows.values.tolist()
    stranger = pd.DataFrame({"digest": ["dd"]})
    assert there_and_back(stranger, runs) == [["dd"]]
