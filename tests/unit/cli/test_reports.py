"""`beft summary`: the selected and the best term of each cell, on a terminal."""

import math

import pandas as pd

from beft.cli.reports import selected_terms

COLUMNS = [
    "model",
    "task",
    "regime",
    "selector",
    "selected",
    "selected_inert",
    "best",
    "lead",
    "reason",
    "best_mean",
    "guessing",
    "unbeaten",
]


def shown(*rows: tuple) -> dict[str, list[str]]:
    """The columns of the table and their texts."""
    table = selected_terms(pd.DataFrame(rows, columns=COLUMNS))
    return {str(column.header): [cell.plain for cell in column.cells] for column in table.columns}


def test_a_row_for_each_cell_and_a_column_for_each_selector():
    decided = ("v", 0.0125, "", 0.912, 0.5, False)
    open_ = ("", math.nan, "one seed", math.nan, math.nan, False)
    found = shown(
        ("m", "sst2", "low", "projection", "v", False, *decided),
        ("m", "sst2", "low", "fisher", "k", True, *decided),
        ("m", "rte", "low", "projection", "", False, *open_),
        ("m", "rte", "low", "fisher", "q", False, *open_),
    )
    assert found == {
        "task": ["sst2", "rte"],
        "regime": ["low", "low"],
        "projection": ["v", "-"],
        "fisher": ["k (inert)", "q"],
        "best": ["v", "undecided: one seed"],
        "lead": ["1.2 points", ""],
        "metric": ["91.2 %", ""],
        "guessing": ["50.0 %", ""],
    }


def test_models_are_named_where_there_are_several():
    rows = [
        (model, "t", "low", "fisher", "v", False, "v", 0.1, "", 0.9, 0.5, False)
        for model in ("a", "b")
    ]
    assert shown(*rows)["model"] == ["a", "b"]


def test_nothing_to_show():
    assert shown() == dict.fromkeys(("task", "regime", "best", "lead", "metric", "guessing"), [])
