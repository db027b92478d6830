"""Identity of runs: the digest of a recipe, the paths that contain it, and packs of runs."""

import hashlib

from support.small_study import STUDY, WIDE, grid

from beft.study.recipe import Pack

# Canonical JSON (sorted keys, no spaces), written by hand; the digests were computed with
# `printf %s TEXT | sha256sum | cut -c1-16`. A change here means that every run gets a new folder.
SOURCE = (
    '{"config":"sst2","hub":"own/d","label":"label","labels":["negative","positive"],'
    '"revision":"r2","splits":["train","validation"],"text":["sentence"],"version":1}'
)
RECIPE = (
    '{"model":{"alias":"m","hub":"own/m","revision":"r1","sha256":null,"sites":null},"seed":0,'
    '"source":"SOURCE","subset":{"regime":"low","size":10,"stratify":false},'
    '"task":{"label":"label","labels":["negative","positive"],"metric":"accuracy","name":"sst2",'
    '"text":["sentence"],"train":"train","validation":["validation"]},"technique":"b_v",'
    '"training":{"batch_size":16,"dropout":null,"epochs":16,'
    '"learning_rate":0.0004,"max_grad_norm":1.0,"max_length":128,"precision":"float32",'
    '"weight_decay":0.0},"version":3}'
)


def sha16(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_the_digest_is_that_of_json_written_by_hand():
    (recipe,) = grid()
    assert recipe.source == sha16(SOURCE) == "c227dae1e7f602fe"
    assert recipe.digest == sha16(RECIPE.replace("SOURCE", recipe.source)) == "059b2c7e7dcb76ae"


def test_paths_are_written_out_in_full():
    (recipe,) = grid()
    assert recipe.folder() == f"m/sst2/low/b_v/seed-0/{recipe.digest}"
    assert recipe.source_path() == f"sst2/{recipe.source}"
    assert recipe.subset_path().startswith("sst2/low/seed-0/")
    model = '{"alias":"m","hub":"own/m","revision":"r1","sha256":null,"sites":null}'
    assert recipe.model_path() == f"m/{sha16(model)}.json"


def test_subset_and_source_are_shared_by_whatever_does_not_concern_them():
    recipes = grid(study=WIDE)
    assert len({r.source_path() for r in recipes}) == 1
    # (regime, seed): neither model nor technique
    assert len({r.subset_path() for r in recipes}) == 4
    slow = grid(study=WIDE | {"training": {"epochs": 1, "learning_rate": 1.0}})
    assert [r.subset_path() for r in slow] == [r.subset_path() for r in recipes]


def test_a_manifest_is_named_by_its_runs_in_any_order_and_by_what_may_be_skipped():
    recipes = tuple(grid(study=WIDE)[:4])
    name = Pack(recipes, False).manifest()
    assert Pack(recipes[::-1], False).manifest() == name
    assert Pack(recipes[:3], False).manifest() != name
    assert Pack(recipes, True).manifest() != name


def test_only_inert_attention_terms_may_be_skipped():
    study = STUDY | {"techniques": ["b_v", "b_k", "b_output", "all_biases", "full", "head_only"]}
    recipes = tuple(grid(study=study))
    allowed = [r.technique for r in recipes if Pack(recipes, True).may_skip(r)]
    assert allowed == ["b_v", "b_k"]
    assert not any(Pack(recipes, False).may_skip(r) for r in recipes)
