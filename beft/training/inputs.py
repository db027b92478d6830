"""The inputs of a run: weights and data, identified by checksums."""

from beft.data.tables import check_source, split_checksums
from beft.errors import UserError
from beft.store.files import read_json
from beft.store.run_folder import Run
from beft.study.layout import Layout
from beft.study.recipe import Recipe
from beft.tasks.words import Plain

Inputs = Plain  # `source`: checksum of each split; `model`: of each file


def current_inputs(layout: Layout, recipe: Recipe) -> Inputs:
    """SHA-256 of the weights and normalised splits that a run reads.

    Raises:
        UserError: when something is missing or damaged.
    """
    source = layout.source(recipe)
    check_source(source, recipe.task["name"])
    splits = split_checksums(source)
    model = layout.model(recipe)
    if not model.is_file():
        alias = recipe.model["alias"]
        raise UserError(f"{model}: missing; run 'beft fetch --model {alias}' first")
    return {"source": splits, "model": read_json(model)["sha256"]}


def check_inputs(run: Run, inputs: Inputs) -> None:
    """Makes sure that a run was trained on these inputs.

    Raises:
        UserError: it was trained on other data or weights.
    """
    recorded = run.provenance["inputs"]
    for kind, current in inputs.items():
        if recorded[kind] != current:
            what = "weights" if kind == "model" else "data"
            raise UserError(
                f"{run.folder}: trained on other {what} than are here now under the same revision; "
                "restore them, or pin a new revision"
            )
