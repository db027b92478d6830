"""The folder of an adapter: what it holds, and the proof that it answers as the tuned run did."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch

from beft.adapters.export import check_target, load_model, task_type
from beft.adapters.host import Values, values_of
from beft.adapters.peft_files import obstacle, peft_files
from beft.data.mirror.lookup import locate
from beft.engine.parts import parts_of, trained_numbers, trained_terms
from beft.engine.precision import real
from beft.errors import UserError
from beft.models.base import Model
from beft.models.pretrained import check_checkpoint
from beft.store.files import to_json, write_folder
from beft.store.run_folder import Run, check_sound, open_run
from beft.store.run_format import Epoch
from beft.study.project import Project
from beft.study.recipe import Recipe
from beft.training.shared import is_decoder
from beft.tuning.adapter_format import FORMAT, Adapted, Base, Facts, Quality, Tensors, files_of
from beft.tuning.base_model import sums_of
from beft.tuning.card import Card, Form, render_card
from beft.tuning.check import check_answers
from beft.tuning.example_program import CONFIG, EXAMPLE, render_example
from beft.tuning.examples import Meaning
from beft.tuning.host import name_in

TOKENIZER_CONFIG = "tokenizer_config.json"


def adapter_files(
    project: Project,
    recipe: Recipe,
    meaning: Meaning,
    card: Card,
    target: Path,
    epoch: Epoch = "last",
    origin: tuple[str | None, str | None] = (None, None),
) -> dict[str, bytes]:
    """The files of an adapter: for PEFT, for `beft predict`, and for people.

    Before they are returned they are loaded, once by `beft` and once by the adapter's own
    example.py, and have to answer the run's validation rows as the run did.

    Args:
        project: that of the run.
        recipe: of a run that ended well and trained biases, the head, both or nothing.
        meaning: what its outputs mean.
        card: what people are told.
        target: the folder that will hold the files; paths in them are relative to it.
        epoch: whose values are taken.
        origin: id and revision on the hub, of a model that the project knows as a folder.

    Raises:
        UserError: the run is not there or did not end well, or what would be written answers
            otherwise than the run did.
    """
    run = open_run(project.layout, recipe)
    check_sound(run)
    if run.status != "ok":
        raise UserError(f"{run.folder}: {run.status} ({run.reason}); tune with another rate")
    model, values = load_model(project, recipe), values_of(run, epoch)
    source = locate(project.root, project.layout.model(recipe))
    facts = _facts(run, model, meaning, card, _base(recipe, source, target, origin))
    adapted = Adapted(facts, _values(model, facts, values))
    form, files = _form(recipe, model, facts, values)
    files |= files_of(adapted) | _tokenizer_files(source, model, facts) | _config(model, facts)
    example = render_example(facts, form.peft, files)
    files[EXAMPLE] = example.encode()
    check_answers(project, run, epoch, files, source)
    return files | {"README.md": render_card(card, facts, form, example)}


def write(target: Path, files: Mapping[str, bytes]) -> None:
    """Writes an adapter's folder, whole or not at all.

    Raises:
        UserError: something is there already, or it cannot be written.
    """
    check_target(target)
    write_folder(target, files)


def _base(
    recipe: Recipe, source: Path, target: Path, origin: tuple[str | None, str | None]
) -> Base:
    hub, revision = origin
    if hub is None:
        hub, revision = recipe.model.get("hub"), recipe.model.get("revision")
    return Base(
        hub=hub,
        revision=revision,
        path=None if hub else os.path.relpath(source.resolve(), target.resolve()),
        sites=recipe.model["sites"],
        sha256=sums_of(source),
    )


def _facts(run: Run, model: Model, meaning: Meaning, card: Card, base: Base) -> Facts:
    recipe, training = run.recipe, run.recipe.training
    return Facts(
        format=FORMAT,
        base=base,
        technique=recipe.technique,
        terms=list(trained_terms(model, recipe)),
        pooling=None if is_decoder(recipe) else recipe.pooling,
        prompt=meaning.prompt,
        max_length=training["max_length"],
        precision=run.provenance.get("precision") or real("cpu", training["precision"]),
        texts=list(meaning.texts),
        label=meaning.label,
        classes=list(meaning.classes),
        mean=meaning.mean,
        deviation=meaning.deviation,
        test=Quality(
            metric=card.metric,
            value=card.value,
            low=card.low,
            high=card.high,
            rows=len(card.truth),
        ),
    )


def _values(model: Model, facts: Facts, values: Values) -> Tensors:
    """Every tuned parameter, whole, by its name in beft.safetensors."""
    tuned = {site.parameter for term in facts.terms for site in model.sites.of(term)}
    found: dict[str, torch.Tensor] = {}
    for site in model.sites.sites:
        if site.parameter in tuned:  # its other rows, if it is fused, are as they were
            shape = model.model.get_parameter(site.parameter).shape
            whole = found.setdefault(
                name_in(model, site.parameter, facts.pooling), torch.zeros(shape)
            )
            source = values.biases if site.term in facts.terms else values.pre
            whole[site.index] = source[site.term][site.layer]
    return found | {name_in(model, n, facts.pooling): v for n, v in values.head.items()}


def _form(
    recipe: Recipe, model: Model, facts: Facts, values: Values
) -> tuple[Form, dict[str, bytes]]:
    """How the folder holds what was tuned, and its files for PEFT, if it has any."""
    trained, total = trained_numbers(model, parts_of(model, recipe))
    nothing = "only the head was tuned" if values.head else "nothing was tuned"
    reason = obstacle(model, facts.terms) if facts.terms else nothing
    if reason is not None:
        return Form(False, reason, trained, total), {}
    base = facts.base
    place = base.hub or base.path
    assert place is not None
    given = values.pre, values.biases, values.head, task_type(recipe), place, base.revision
    return Form(True, "", trained, total), peft_files(model, facts.terms, *given)


def _tokenizer_files(source: Path, model: Model, facts: Facts) -> dict[str, bytes]:
    """The tokenizer's files, which say how many tokens the adapter reads."""
    checkpoint = check_checkpoint(source, f"model {source}")
    files = {name: (source / name).read_bytes() for name in checkpoint.tokenizer}
    config = json.loads(files.get(TOKENIZER_CONFIG, b"{}"))
    config.pop("auto_map", None)  # it names code
    config.setdefault("tokenizer_class", type(model.tokenizer).__name__)
    if facts.prompt is None:  # of prompts, not every token may be cut
        config["model_max_length"] = facts.max_length
    return files | {TOKENIZER_CONFIG: to_json(config)}


def _config(model: Model, facts: Facts) -> dict[str, bytes]:
    """The base model's configuration, with names for the outputs of its head."""
    if facts.prompt is not None:
        return {}
    names = dict(enumerate(facts.classes or [facts.label]))
    config = model.model.config.to_diff_dict()
    config.pop("auto_map", None)
    kind = "single_label_classification" if facts.classes else "regression"
    config |= {"id2label": names, "label2id": {v: k for k, v in names.items()}}
    return {CONFIG: to_json(config | {"problem_type": kind, "num_labels": len(names)})}
