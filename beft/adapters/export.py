"""Export a tuned run as an adapter that PEFT loads: the shift of each tuned bias, and the head."""

import difflib
from pathlib import Path

from beft.adapters.host import Values, values_of
from beft.adapters.peft_files import TaskType, obstacle, peft_files
from beft.data.mirror.lookup import locate
from beft.engine.base import Tensors
from beft.engine.parts import trained_terms
from beft.errors import UserError
from beft.models.base import Model
from beft.models.decoder import load_decoder
from beft.models.encoder import load_encoder
from beft.store.files import explain_os_errors, to_json, write_folder
from beft.store.inputs import marker_flaw
from beft.store.run_folder import Run, open_run
from beft.store.run_format import RECIPE, Epoch
from beft.study.project import Project
from beft.study.recipe import Recipe
from beft.techniques import TECHNIQUES
from beft.training.shared import is_decoder


def export(project: Project, digest: str, target: Path, epoch: Epoch = "best") -> Recipe:
    """Writes a run's biases and head as a BEFT adapter of its base model.

    Beside the files of `peft_files`, `recipe.json` says what the run was (labels, prompt, data).

    Args:
        digest: of a run of the project's study, or an unambiguous beginning of it.
        target: the folder to write, absent or empty; written whole or not at all.
        epoch: `best` is the one that the reports tell of.

    Returns:
        The recipe of the run.

    Raises:
        UserError: no such run, or one that is missing, damaged or diverged; PEFT's BEFT cannot
            hold what it tuned; the target is taken.
    """
    recipe = find_run(project, digest)
    check_target(target)
    run = open_run(project.layout, recipe)
    check_run(project, run)
    values = values_of(run, epoch)
    files = adapter_files(project, recipe, load_model(project, recipe), values, values.biases)
    write_folder(target, files)
    return recipe


def adapter_files(
    project: Project, recipe: Recipe, model: Model, values: Values, biases: Tensors
) -> dict[str, bytes]:
    """The files of an adapter: a run's own head, and biases, its own or others of its model.

    Args:
        model: the run's, whose head is overwritten.
        biases: of the terms that the run tuned, at least: term -> (layers, width).

    Raises:
        UserError: PEFT's BEFT cannot hold what the run tuned.
    """
    terms = trained_terms(model, recipe)
    if not terms:
        raise _not_biases(recipe)
    if what := obstacle(model, terms):
        raise UserError(
            f"run {recipe.digest} ({recipe.technique}) tuned {what}, and PEFT's BEFT holds no "
            "others; export a run of b_q, b_k or b_v of a model with plain linears"
        )
    local = project.params.models[recipe.model["alias"]].path
    base = recipe.model.get("hub") or str((project.root / (local or "")).resolve())
    pinned, kind = recipe.model.get("revision"), task_type(recipe)
    files = peft_files(model, terms, values.pre, biases, values.head, kind, base, pinned)
    return files | {RECIPE: to_json(recipe.to_dict())}


def task_type(recipe: Recipe) -> TaskType:
    """What PEFT calls the base model of a run."""
    if is_decoder(recipe):
        return "CAUSAL_LM"
    return "FEATURE_EXTRACTION" if recipe.pooling == "mean" else "SEQ_CLS"


def find_run(project: Project, digest: str) -> Recipe:
    """The one run of the study whose digest begins like this.

    Raises:
        UserError: there is none, or more than one.
    """
    known = {r.digest: r for r in project.recipes}
    found = [d for d in known if d.startswith(digest)]
    if len(found) == 1:
        return known[found[0]]
    if found:
        raise UserError(
            f"'{digest}' begins the digests of {len(found)} runs of study '{project.name}' "
            f"({', '.join(found[:2])}, ...); give more of it"
        )
    (close,) = difflib.get_close_matches(digest, known, n=1, cutoff=0.0)
    raise UserError(
        f"no run of study '{project.name}' has a digest that begins with '{digest}'; the nearest "
        f"is {close} ({known[close].folder().rpartition('/')[0]}), runs.csv of the reports has all"
    )


def check_target(target: Path) -> None:
    """Makes sure that a folder can be written.

    Raises:
        UserError: something is there already.
    """
    with explain_os_errors(target):
        taken = target.exists() and (not target.is_dir() or any(target.iterdir()))
    if taken:
        raise UserError(f"{target}: is there already; name a folder that is absent or empty")


def check_run(project: Project, run: Run) -> None:
    """Makes sure that a run can be exported.

    Raises:
        UserError: it tuned more than biases, or is missing, damaged, diverged or of other weights.
    """
    recipe = run.recipe
    if not TECHNIQUES[recipe.technique].biases_only:
        raise _not_biases(recipe)
    if run.flaw:
        remedy = f"run 'snakemake --config study={project.name}' first"
        raise UserError(f"{run.folder}: {run.flaw}; {remedy}")
    if run.status != "ok":
        raise UserError(f"{run.folder}: {run.status} ({run.reason}); export a run that ended well")
    marker = project.layout.model(recipe)
    if problem := marker_flaw(marker, recipe.model):
        raise UserError(f"{marker}: {problem}")
    if run.foreign:
        raise UserError(f"{run.folder}: {run.foreign}")


def _not_biases(recipe: Recipe) -> UserError:
    return UserError(
        f"run {recipe.digest} is of {recipe.technique}, and PEFT's BEFT holds whole biases of "
        "linears and nothing else; export a run of b_q, b_k or b_v"
    )


def load_model(project: Project, recipe: Recipe) -> Model:
    """A run's model as it was before it was tuned."""
    path = locate(project.root, project.layout.model(recipe))
    settings = {"sites": recipe.model["sites"], "name": recipe.model["alias"]}
    if is_decoder(recipe):  # only its structure is looked at
        return load_decoder(path, hollow=True, **settings)
    settings["pooling"] = recipe.pooling
    return load_encoder(path, len(recipe.task["labels"]) or 1, **settings)
