"""A race of `beft tune` as a study of a project: what either trains, the other finds done."""

import csv

from support import sandbox

from beft.study.project import load

TUNE = ("tune", "reviews.csv", "--model", "models/tiny", "--minutes", "0.1", "--seeds", "2")
STUDY = ("--study", "own", "--workers", "1", "--yes")
# Settings of a project that do not hold for the runs of `beft tune`, which has its own.
PARAMS = sandbox.PARAMS | {"techniques": {"all_biases": {"precision": "float32"}}}


def runs(project) -> dict:
    return sandbox.marks(project / "data" / "runs")


def digests(found) -> set[str]:
    return {path.split("/")[-2] for path in found}


def test_nothing_is_trained_twice(tmp_path):
    project = sandbox.make(tmp_path / "project", PARAMS)
    with (project / "reviews.csv").open("w", newline="", encoding="utf-8") as file:
        subjects = [f"the {thing} was" for thing in ("film", "plot", "cat", "dog", "man", "story")]
        words = [("good", "yes"), ("great", "yes"), ("bad", "no"), ("dull", "no")]
        lines = [
            (f"{s} {very}{w}", v) for s in subjects for very in ("", "very ") for w, v in words
        ]
        csv.writer(file).writerows([("review", "liked"), *lines])

    done = sandbox.beft(project, *TUNE, *STUDY)
    assert done.status == 0, done.said
    assert "snakemake --config study=own" in done.said and not (project / "data" / "runs").exists()
    study = load(project / "params.yaml", "own")
    planned = {recipe.digest: recipe.task["name"] for recipe in study.recipes}
    assert {r.training["precision"] for r in study.recipes} == {"auto"}

    # One fold as on a cluster; `tune` then trains what it needs of the other, and the last run.
    (pack,) = [path for path in study.packs if "own-fold-1" in path]
    sandbox.snakemake(project, "--config", "study=own", "--", f"data/packs/{pack}")
    first = runs(project)
    assert {planned[digest] for digest in digests(first)} == {"own-fold-1"}
    done = sandbox.beft(project, *TUNE, *STUDY, "--to", "adapter")
    assert done.status == 0 and (project / "adapter" / "beft.json").is_file(), done.said
    second = runs(project)
    assert {path: second[path] for path in first} == first
    (last,) = load(project / "params.yaml", "own-final").recipes
    new = digests(second) - digests(first)
    assert {planned.get(digest, digest) for digest in new} == {"own-fold-2", last.digest}

    sandbox.snakemake(project, "--config", "study=own", "--", "runs")
    third = runs(project)
    assert {path: third[path] for path in second} == second
    inert = {r.digest for r in study.recipes if r.technique == "b_k"}
    assert digests(third) == planned.keys() - inert | {last.digest}
