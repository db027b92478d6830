"""Selectors: biases before and after tuning in, the importance of each bias term out."""

from beft.selectors.formulas import (
    SELECTORS,
    Selector,
    fisher,
    fisher_batch,
    fisher_of_mean_squares,
    magnitude,
    projection,
    projection_printed,
    ranks,
    select,
    term_score,
)

__all__ = [
    "SELECTORS",
    "Selector",
    "fisher",
    "fisher_batch",
    "fisher_of_mean_squares",
    "magnitude",
    "projection",
    "projection_printed",
    "ranks",
    "select",
    "term_score",
]
