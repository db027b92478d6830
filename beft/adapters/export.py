"""Export a tuned run as an adapter that PEFT loads: the shift of each tuned bias, and the head."""

import difflib
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn

from beft.adapters.host import Values, values_of
from beft.data.mirror.lookup import locate
from beft.engine.base import Tensors
from beft.engine.parts import trained_terms
from beft.errors import UserError
from beft.models.base import Model
from beft.models.decoder import load_decoder
from beft.models.encoder import load_encoder
from beft.models.sites import Site
from beft.store.files import explain_os_errors, to_json, write_folder
from beft.store.inputs import marker_flaw
from beft.store.run_folder import Run, open_run
from beft.store.run_format import RECIPE, Epoch
from beft.study.project import Project
from beft.study.recipe import Recipe
from beft.techniques import TECHNIQUES
from beft.training.shared import is_decoder

PREFIX = "base_model.model."  # what PEFT puts before the names of the base model's modules
WHOLE = ("classifier", "score")  # heads that PEFT saves in any case


def export(project: Project, digest: str, target: Path, epoch: Epoch = "best") -> Recipe:
    """Writes a run's biases and head as a BEFT adapter of its base model.

    `adapter_model.safetensors` holds, for each tuned bias, what PEFT adds to the output of its
    linear: tuned minus pretrained, (1, width) float32; and for an encoder the modules of the head.
    `adapter_config.json` names them, `recipe.json` says what the run was (labels, prompt, data).

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
    tuned = _tuned(model, recipe)
    tensors = {}
    for site in tuned:
        shift = biases[site.term][site.layer] - values.pre[site.term][site.layer]
        tensors[f"{PREFIX}{site.module}.beft_bias"] = shift[None].contiguous()
    with torch.no_grad():
        for name in model.head:
            model.model.get_parameter(name).copy_(values.head[name])
    modules = _head_modules(model)
    for module in modules:
        for name, value in model.model.get_submodule(module).state_dict().items():
            tensors[f"{PREFIX}{module}.{name}"] = value
    return {
        "adapter_config.json": _config(project, recipe, tuned, modules),
        "adapter_model.safetensors": save(tensors, metadata={"format": "pt"}),
        RECIPE: to_json(recipe.to_dict()),
    }


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
        return load_decoder(path, dtype=torch.bfloat16, **settings)
    return load_encoder(path, len(recipe.task["labels"]) or 1, **settings)


def _tuned(model: Model, recipe: Recipe) -> list[Site]:
    """The sites that the run tuned, each the whole bias of one linear."""
    terms = trained_terms(model, recipe)
    if not terms:
        raise _not_biases(recipe)
    sites = [site for term in terms for site in model.sites.of(term)]
    for site in sites:
        if site.rows is not None:
            raise UserError(
                f"model '{recipe.model['alias']}' computes q, k and v in one fused linear "
                f"({site.module}), and PEFT's BEFT only holds biases of whole linears; such runs "
                "stay here, export one of a model with separate projections"
            )
    other = dict.fromkeys(
        site.term
        for site in sites
        if not isinstance(model.model.get_submodule(site.module), nn.Linear)
        or site.parameter != f"{site.module}.bias"
    )
    if other:
        raise UserError(
            f"run {recipe.digest} ({recipe.technique}) tuned {', '.join(other)}, which are not "
            "biases of linears, and PEFT's BEFT holds no others; export a run of b_q, b_k or b_v"
        )
    return sites


def _head_modules(model: Model) -> list[str]:
    """The modules that hold the head, those that PEFT takes whole by their names as such."""
    return list(
        dict.fromkeys(
            top if (top := name.partition(".")[0]) in WHOLE else name.rpartition(".")[0]
            for name in model.head
        )
    )


def _config(project: Project, recipe: Recipe, tuned: list[Site], modules: list[str]) -> bytes:
    from peft import BeftConfig

    local = project.params.models[recipe.model["alias"]].path
    config = BeftConfig(
        task_type="CAUSAL_LM" if is_decoder(recipe) else "SEQ_CLS",
        base_model_name_or_path=recipe.model.get("hub")
        or str((project.root / (local or "")).resolve()),
        revision=recipe.model.get("revision"),
        inference_mode=True,
        target_modules=[site.module for site in tuned],
        modules_to_save=modules or None,
    )
    # As `save_pretrained` writes it, but for the order of sets, which is another in each process.
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
    return to_json(plain)
