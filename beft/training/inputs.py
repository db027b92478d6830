"""The inputs of a run: weights and data, identified by checksums."""

from beft.data.tables import check_source
from beft.errors import UserError
from beft.store.inputs import Sums, marked, marker_flaw, split_checksums
from beft.study.layout import Layout
from beft.study.recipe import Recipe

Inputs = dict[str, Sums]  # `source`: checksum of each split; `model`: of each file


def current_inputs(layout: Layout, recipe: Recipe) -> Inputs:
    """SHA-256 of the weights and normalised splits that a run reads.

    Raises:
        UserError: when something is missing or damaged, or is not what the recipe names.
    """
    source, marker = layout.source(recipe), layout.model(recipe)
    check_source(source, recipe.task["name"])
    if problem := marker_flaw(marker, recipe.model):
        raise UserError(f"{marker}: {problem}")
    return {"source": split_checksums(source), "model": marked(marker)}
