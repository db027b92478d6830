"""The names of bias terms: which bias of a transformer layer is meant."""

PROJECTIONS = ("q", "k", "v")  # the query, key and value projections, which the paper compares
# All terms that are named by their role in the layer; any other bias is named by its path.
TERMS = (
    *PROJECTIONS,
    "attention_output",
    "attention_norm",
    "intermediate",
    "output",
    "output_norm",
)
