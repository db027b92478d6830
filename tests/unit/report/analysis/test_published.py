"""The paper's numbers are complete, and are found only where the settings are the same."""

import pytest

from beft.report.analysis import published


def test_every_table_is_there() -> None:
    # Table 1: 3 regimes x 9 columns x 3 terms and 9 averages; Table 2: 4 techniques; Table 3: 4
    # ways on 2 tasks; Table 4: 3 models x 4 tasks x 3 terms; Table 5: 2 models x 11 tasks x 7
    # techniques
    counts = published.load()["table"].value_counts().to_dict()
    assert counts == {"table1": 90, "table2": 4, "table3": 8, "table4": 36, "table5": 154}


def test_averages_are_those_of_the_columns() -> None:
    """Table 1's averages are the means of its nine columns, printed with one digit.

    One of them (64.77 printed as 64.7) is cut off, not rounded, hence the width of a digit.
    """
    table = published.load()
    table = table[table["table"] == "table1"]
    for average in table[table["task"] == published.AVERAGE].itertuples():
        row = table[(table["regime"] == average.regime) & (table["technique"] == average.technique)]
        columns = row[row["task"] != published.AVERAGE]["value"]
        assert len(columns) == 9
        assert columns.mean() == pytest.approx(average.value, abs=0.1)


@pytest.mark.parametrize(
    ("key", "value", "table"),
    [
        (("bert-base-cased", "mnli", "validation_mismatched", "low", "b_v"), 45.7, "table1"),
        (("bert-base-cased", "rte", "validation", "low", "b_v"), 59.5, "table1"),
        (("bert-base-cased", "rte", "validation", "low", "random_uniform"), 50.4, "table2"),
        (("roberta-base", "cb", "validation", "low", "b_k"), 76.2, "table4"),
        (("opt-6.7b", "drop", "validation", "low", "icl"), 27.5, "table5"),
    ],
)
def test_lookup(key: tuple, value: float, table: str) -> None:
    found = published.lookup()[key]
    assert (found.value, found.table) == (value, table)


def test_lookup_of_what_the_paper_does_not_say() -> None:
    index = published.lookup()
    assert ("bert-base-cased", "rte", "validation", "", "untuned") not in index
    assert ("bert-base-cased", "sst2", "validation", "all", "b_v") not in index
