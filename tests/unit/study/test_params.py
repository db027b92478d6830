"""params.yaml and studies: what they hold, how they are read, and that nothing drifts from them."""

import json
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from beft import selectors
from beft.errors import UserError
from beft.report.figures.registry import FIGURES
from beft.report.tables.registry import TABLES
from beft.store.files import to_json
from beft.study import params as P
from beft.study import studies
from beft.study.project import load
from beft.study.yaml_file import read_yaml
from beft.tasks.metrics import classes

ROOT = Path(__file__).resolve().parents[3]
# What the authors' public code sets and the paper leaves out, per task: sizes of low, medium and
# high, learning rate, epochs of BERT-base, epochs of RoBERTa (None: not given), reported metric.
AUTHORS_PUBLIC_CODE = {
    "cola": (1710, 3420, 4275, 0.0007, 16, None, "matthews"),
    "mnli": (1000, 5000, 9000, 0.0001, 30, None, "accuracy"),
    "mrpc": (367, 1191, 1835, 0.0007, 60, None, "f1"),
    "qnli": (1000, 5000, 9000, 0.0001, 30, None, "accuracy"),
    "qqp": (1000, 5000, 9000, 0.0004, 30, None, "f1"),
    "rte": (300, 900, 1200, 0.001, 30, 30, "accuracy"),
    "sst2": (1000, 5000, 11000, 0.0004, 16, 30, "accuracy"),
    "stsb": (287, 1150, 2300, 0.0001, 60, None, "spearman"),
    "cb": ("all", None, None, 0.001, 60, 60, "f1_macro"),
    "wic": ("all", None, None, 0.001, 16, 30, "accuracy"),
}
SCHEMAS = {"params": P.Params, "study": studies.Study, "union": studies.Union}
STUDIES = sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))


def schema_file(name: str) -> Path:
    return ROOT / "workflow" / "schemas" / f"{name}.schema.json"


def resolved(task: str, model: str, regime: str) -> dict:
    """The recipe of b_v that params.yaml gives for a (model, task, regime), as plain data."""
    from beft.study.grid import grid

    study = studies.Study(
        models=[model], tasks=[task], regimes=[regime], techniques=["b_v"], seeds=[0], selectors=[]
    )
    (recipe,) = grid(P.load_params(ROOT / "params.yaml"), study, ROOT)
    return recipe.to_dict()


@pytest.mark.parametrize("task", AUTHORS_PUBLIC_CODE)
def test_settings_are_those_of_the_authors_public_code(task):
    *sizes, rate, bert, roberta, metric = AUTHORS_PUBLIC_CODE[task]
    for regime, size in zip(("low", "medium", "high"), sizes, strict=True):
        if size is None:
            with pytest.raises(UserError, match=regime):
                resolved(task, "bert-base-cased", regime)
            continue
        recipe = resolved(task, "bert-base-cased", regime)
        assert recipe["subset"]["size"] == size
        assert recipe["training"]["learning_rate"] == rate
        assert recipe["training"]["epochs"] == bert
        assert recipe["task"]["metric"] == metric
        assert resolved(task, "roberta-base", regime)["training"]["epochs"] == (roberta or bert)


def test_the_protocol_is_the_papers():
    """Batches of 16, 128 tokens, AdamW without decay, gradients clipped at 1, own dropout."""
    training = resolved("sst2", "bert-base-cased", "low")["training"]
    assert (training["batch_size"], training["max_length"]) == (16, 128)
    assert (training["weight_decay"], training["max_grad_norm"]) == (0.0, 1.0)
    assert training["dropout"] is None
    full = P.load_params(ROOT / "params.yaml").techniques["full"]
    assert full.learning_rate == 1e-5


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_resolves(name):
    project = load(ROOT / "params.yaml", name)
    assert project.recipes and len({r.digest for r in project.recipes}) == len(project.recipes)


def test_names_are_those_of_the_registries():
    """`study` lies below the registries and may not import them, so names are compared here."""
    assert tuple(TABLES) == studies.TABLES
    assert tuple(FIGURES) == studies.FIGURES
    assert tuple(classes.METRICS) == get_args(P.Metric)
    assert tuple(selectors.SELECTORS) == get_args(studies.Selector)
    needs = {name: selector.needs for name, selector in selectors.SELECTORS.items()}
    assert {n for n in needs if needs[n] == "snapshots"} == set(studies.OF_SNAPSHOTS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_generated_schemas_are_up_to_date(name):
    """Run `beft schema` when this fails."""
    assert schema_file(name).read_bytes() == to_json(SCHEMAS[name].model_json_schema())


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_refuses_unknown_keys_and_explains_every_known_one(name):
    schema = json.loads(schema_file(name).read_bytes())
    for part in (schema, *schema.get("$defs", {}).values()):
        assert part["additionalProperties"] is False and part["description"]
        assert all(key["description"].endswith(".") for key in part["properties"].values())


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *sorted((ROOT / "studies").glob("*.yaml"))])
def test_an_editor_finds_the_schema_that_a_file_obeys(path):
    first = path.read_text().splitlines()[0]
    relative = first.removeprefix("# yaml-language-server: $schema=")
    schema = json.loads((path.parent / relative).read_bytes())
    jsonschema.validate(read_yaml(path), schema)
