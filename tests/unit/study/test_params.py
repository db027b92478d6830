"""params.yaml and studies: what they hold, how they are read, and that nothing drifts from them."""

import json
from pathlib import Path

import pytest

from beft import selectors
from beft.errors import UserError
from beft.report.figures.registry import FIGURES
from beft.report.tables.registry import TABLES
from beft.store.files import to_json
from beft.study import params as P
from beft.study import studies
from beft.study.project import load
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
STUDIES = sorted(path.stem for path in (ROOT / "studies").glob("*.yaml"))


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
    """`params` may not import what draws; so its names are compared here."""
    assert tuple(TABLES) == studies.TABLES
    assert tuple(FIGURES) == studies.FIGURES
    assert set(classes.METRICS) == set(P.METRICS)
    assert all(callable(getattr(selectors, name)) for name in P.SELECTORS)


@pytest.mark.parametrize(
    ("name", "model"),
    [("params", P.Params), ("study", studies.Study), ("union", studies.Union)],
)
def test_generated_schemas_are_up_to_date(name, model):
    """Run `beft schema` when this fails."""
    written = (ROOT / "workflow" / "schemas" / f"{name}.schema.json").read_bytes()
    assert written == to_json(model.model_json_schema())
    assert json.loads(written)["additionalProperties"] is False


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("b_w", "did you mean 'b_v'?"),
        ("trainig", "did you mean 'training'?"),
        ("zzz", "valid: b_v, training"),
    ],
)
def test_nearest_name(name, hint):
    assert P.nearest(name, ["training", "b_v"]) == hint
    assert P.nearest(name, []) == "none are defined"


def test_merge_keys_may_repeat_what_they_override(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert P.read_yaml(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 3, "y": 2}}


@pytest.mark.parametrize("written", ["1e-3", "1.0e-3", "0.001", "'0.001'"])
def test_a_number_is_a_number_however_it_is_written(tmp_path, written):
    """YAML 1.1 takes 1e-3 for text; nobody who writes it means text."""
    path = tmp_path / "x.yaml"
    path.write_text(f"learning_rate: {written}\n")
    assert P.Overrides(**P.read_yaml(path)).learning_rate == 0.001


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("mini", "studies/mini.yaml"),
        ("studies/mini.yaml", "studies/mini.yaml"),
        ("mini.yaml", "mini.yaml"),
        ("./own/x.yml", "own/x.yml"),
        ("/elsewhere/x.yaml", "/elsewhere/x.yaml"),
    ],
)
def test_a_study_is_a_name_or_a_path(tmp_path, name, path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "mini.yaml").touch()
    assert studies.study_path(name, tmp_path) == tmp_path / path
