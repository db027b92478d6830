"""The order of rows is a permutation that depends on its key alone."""

import os
import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st
from support.orders import independent_order

from beft.data.order import order

QUICK = settings(max_examples=30, derandomize=True, deadline=None)
KEYS = st.tuples(st.text(), st.text(), st.integers(0, 2**32 - 1))


@QUICK
@given(st.integers(0, 300), KEYS)
def test_the_order_is_a_permutation_sorted_by_hashes(rows, key):
    found = order(rows, *key).tolist()
    assert sorted(found) == list(range(rows))
    assert found == independent_order(rows, repr(key))


@QUICK
@given(st.integers(50, 300), KEYS, KEYS)
def test_another_key_gives_another_order(rows, one, other):
    assert (order(rows, *one).tolist() == order(rows, *other).tolist()) == (one == other)


def test_the_order_never_changes():
    """Copied from the first version: whoever changes it changes every stored subset."""
    expected = [1, 3, 0, 9, 5, 10, 7, 2, 11, 4, 6, 8]
    assert order(12, "subset", "sst2", 0).tolist() == expected


def test_the_order_is_the_same_in_another_process():
    code = "from beft.data.order import order; print(order(50, 'subset', 'rte', 3).tolist())"
    environment = {**os.environ, "PYTHONHASHSEED": "123", "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{order(50, 'subset', 'rte', 3).tolist()}\n"
