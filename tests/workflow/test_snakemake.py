"""The workflow as people run it: what is made, what is made again, and what never is."""

import base64
import json
import os
import random
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import load as tensors
from support import sandbox

from beft.report.frames.columns import COLUMNS
from beft.study.studies import FIGURES, TABLES

NOTHING = "Nothing to be done"
CHEAP = {"figures": [], "tables": []}  # where reports are not the point


def said(text: str) -> SimpleNamespace:
    return SimpleNamespace(stdout=text, stderr="")


def study(project: Path, **changes: object) -> None:
    path = project / "studies" / "mini.yaml"
    sandbox.write(path, yaml.safe_load(path.read_text()) | changes)


def runs(project: Path) -> pd.DataFrame:
    return pd.read_csv(project / "reports" / "runs.csv", keep_default_na=False, na_values=[""])


def test_a_plain_run_makes_what_the_dry_run_listed(finished):
    project = finished / "project"
    dry, real = (sandbox.jobs(said((finished / f"{n}.txt").read_text())) for n in ("dry", "run"))
    assert dry == real
    assert {rule for rule, _ in real} == {
        *("fetch", "fetch_model", "subsample", "train", "score"),
        *("collect", "tabulate", "plot", "page", "all"),
    }
    packs = {str(p.relative_to(project)) for p in (project / "data" / "packs").rglob("*.json")}
    assert {output for rule, output in real if rule == "train"} == packs
    assert len(packs) == 1
    folders = {p.name for p in project.glob("data/runs/*/*/*/*")}
    # b_v and b_q are asked for; the selectors bring the other two along
    assert folders == {"b_v", "b_q", "all_biases", "untuned"}
    # scores, scores per epoch and gradients of the only cell
    assert len(list((project / "data" / "scores").rglob("*.csv"))) == 3
    reports = {str(p.relative_to(project / "reports")) for p in project.glob("reports/**/*.*")}
    assert reports == {
        *(f"{frame}.csv" for frame in COLUMNS),
        *("settings.json", "metrics.json", "index.html", "checksums.json"),
        *(f"tables/{t}.{e}" for t in ("table1", "selection") for e in ("csv", "md", "tex")),
        *(f"figures/figure1.{e}" for e in ("png", "svg", "pdf")),
    }
    assert set(runs(project)["status"]) == {"ok"}


def test_a_second_run_does_nothing(project):
    before = sandbox.marks(project / "data") | sandbox.marks(project / "reports")
    assert NOTHING in sandbox.snakemake(project).stderr
    assert sandbox.marks(project / "data") | sandbox.marks(project / "reports") == before


def test_targets_and_studies(tmp_path):
    project = sandbox.make(tmp_path / "project")
    other = sandbox.STUDY | {"tasks": ["demo_similarity"], "fuse_techniques": False}
    sandbox.write(project / "studies" / "other.yaml", other)
    data = {"fetch", "subsample"}
    run = data | {"fetch_model", "train"}
    everything = run | {"score", "collect", "tabulate", "plot", "page"}
    for target, expected in (
        ("data", data | {"data"}),
        ("runs", run | {"runs"}),
        ("reports", everything | {"reports"}),
        ("all", everything | {"all"}),
    ):
        done = sandbox.snakemake(project, "-n", target)
        assert {rule for rule, _ in sandbox.jobs(done)} == expected, target
    by_name, by_path = (
        sandbox.trained(sandbox.snakemake(project, "-n", "--config", f"study={name}"))
        for name in ("other", "studies/other.yaml")
    )
    assert by_name == by_path
    # one job each for b_v, b_q, all_biases and untuned, since techniques are not fused
    assert len(by_name) == 4
    assert all(path.startswith("data/packs/tiny/demo_similarity/low/") for path in by_name)
    assert not (project / "data").exists()


def test_only_what_is_new_is_trained(project):
    """A seed, a rate and a technique more; then back to where it began."""
    kept = (project / "params.yaml").read_text(), (project / "studies" / "mini.yaml").read_text()
    reports = sandbox.contents(project / "reports")
    rate = ("tasks", "demo_sentiment", "learning_rate")
    steps = [
        # another seed: one run for each of the four techniques
        (lambda: study(project, seeds=[0, 1]), {"b_v", "b_q", "all_biases", "untuned"}, {"seed-1"}),
        # untuned runs know no rate
        (
            lambda: sandbox.change(project / "params.yaml", *rate, to=0.02),
            {"b_v", "b_q", "all_biases"},
            {"seed-0", "seed-1"},
        ),
        (
            lambda: study(project, techniques=["b_v", "b_q", "head_only"]),
            {"head_only"},
            {"seed-0", "seed-1"},
        ),
    ]
    for act, techniques, seeds in steps:
        old = sandbox.marks(project / "data" / "runs")
        act()
        assert len(sandbox.trained(sandbox.snakemake(project, "runs"))) == 1
        now = sandbox.marks(project / "data" / "runs")
        assert {path: now.get(path) for path in old} == old
        new = {tuple(Path(path).parts[3:5]) for path in now.keys() - old.keys()}
        assert new == {(technique, seed) for technique in techniques for seed in seeds}
    (project / "params.yaml").write_text(kept[0])
    (project / "studies" / "mini.yaml").write_text(kept[1])
    before = sandbox.marks(project / "data" / "runs")
    assert sandbox.trained(sandbox.snakemake(project)) == []
    assert sandbox.marks(project / "data" / "runs") == before
    assert sandbox.contents(project / "reports") == reports
    # as in a clone, snakemake remembers nothing: reports of one seed do not pass for those of two
    shutil.rmtree(project / ".snakemake")
    study(project, seeds=[0, 1])
    assert sandbox.trained(sandbox.snakemake(project)) == []
    assert set(runs(project)["seed"]) == {0, 1}
    assert sandbox.marks(project / "data" / "runs") == before


def test_lost_inputs_are_made_again_and_nothing_is_trained(project):
    for name in ("sources", "subsets", "models"):
        shutil.rmtree(project / "data" / name)
    before = sandbox.marks(project / "data" / "runs")
    rules = {rule for rule, _ in sandbox.jobs(sandbox.snakemake(project))}
    assert {"fetch", "subsample"} <= rules  # the pack's job looks again, and skips what is there
    assert sandbox.marks(project / "data" / "runs") == before
    sandbox.run(project, "beft", "verify")


def test_a_study_that_shares_packs_does_not_run_them_again(project):
    """And a study may ask for no scores, tables and figures at all."""
    wider = yaml.safe_load((project / "studies" / "mini.yaml").read_text()) | CHEAP
    wider["regimes"] = ["low", "medium"]
    sandbox.write(project / "studies" / "wider.yaml", wider)
    before = sandbox.marks(project / "data" / "runs")
    done = sandbox.snakemake(project, "runs", "--config", "study=wider")
    assert [path.split("/")[4] for path in sandbox.trained(done)] == ["medium"]
    after = sandbox.marks(project / "data" / "runs")
    assert {path: after.get(path) for path in before} == before
    assert NOTHING in sandbox.snakemake(project, "runs").stderr
    # the same runs without the selectors', one job each: all of them are there
    bare = wider | {"regimes": ["low"], "techniques": ["b_v"], "selectors": []}
    bare["fuse_techniques"] = False
    sandbox.write(project / "studies" / "bare.yaml", bare)
    sandbox.snakemake(project, "--config", "study=bare")
    assert sandbox.marks(project / "data" / "runs") == after
    assert list(runs(project)["technique"]) == ["b_v"]
    assert not pd.read_csv(project / "reports" / "scores.csv").size
    assert sandbox.run(project, "beft", "verify", "--study", "bare").returncode == 0


def test_lost_and_damaged_runs_are_noticed_and_redone(project):
    study(project, **CHEAP)
    (lost,) = project.glob("data/runs/tiny/*/low/b_v/seed-0/*")
    (hurt,) = project.glob("data/runs/tiny/*/low/b_q/seed-0/*")
    sound = {
        p: v
        for p, v in sandbox.marks(project / "data" / "runs").items()
        if "/b_v/" not in p and "/b_q/" not in p
    }
    whole = {folder: sandbox.contents(folder) for folder in (lost, hurt)}
    shutil.rmtree(lost)
    weights = (hurt / "head.safetensors").read_bytes()
    (hurt / "head.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    done = sandbox.run(project, "beft", "verify", check=False)
    assert done.returncode == 1
    assert f"{lost.name}: missing" in done.stderr
    assert f"{hurt.name}: head.safetensors is damaged" in done.stderr
    assert "1 packs" in sandbox.run(project, "beft", "verify", "--repair").stdout
    assert len(sandbox.trained(sandbox.snakemake(project))) == 1
    now = sandbox.marks(project / "data" / "runs")
    assert {path: now.get(path) for path in sound} == sound
    (aside,) = (project / "data" / "work").glob("*.damaged")
    assert (aside / "head.safetensors").read_bytes()[:-1] == weights[:-1]
    for folder, files in whole.items():
        assert (folder / "recipe.json").read_bytes() == files["recipe.json"]
        # Trained without the neighbours of the first time: equal up to the rounding of sums.
        for name in ("biases.safetensors", "head.safetensors"):
            before, after = tensors(files[name]), tensors((folder / name).read_bytes())
            assert before.keys() == after.keys()
            for key, values in before.items():
                np.testing.assert_allclose(after[key], values, rtol=1e-4, atol=1e-5, err_msg=key)
    sandbox.run(project, "beft", "verify")


@pytest.mark.parametrize("memory", ["kept", "lost"])
def test_times_of_files_mean_nothing(project, memory):
    """As after rsync or `dvc checkout`; `lost`: and without snakemake's own records."""
    reports = sandbox.contents(project / "reports")
    before = sandbox.contents(project / "data" / "runs")
    moments = random.Random(3)
    for path in sorted(project.rglob("*")):
        if path.is_file() and ".snakemake" not in path.parts:
            at = time.time() - moments.uniform(0, 1e6)
            os.utime(path, (at, at))
    if memory == "lost":
        shutil.rmtree(project / ".snakemake")
    done = sandbox.snakemake(project)
    assert not {"train", "fetch", "fetch_model", "subsample"} & {r for r, _ in sandbox.jobs(done)}
    assert sandbox.contents(project / "reports") == reports
    assert sandbox.contents(project / "data" / "runs") == before


def test_the_workflow_is_tidy(tmp_path):
    project = sandbox.make(tmp_path / "project")
    assert "Congratulations" in sandbox.run(project, "snakemake", "--lint").stderr
    sandbox.run(sandbox.ROOT, "snakefmt", "--check", "Snakefile", "workflow")
    assert len((sandbox.ROOT / "Snakefile").read_text().splitlines()) <= 60


def test_snakemake_report_holds_what_reports_holds(project):
    """Each table, figure and the page, byte for byte, with a label and words of its own."""
    sandbox.snakemake(project, "--report", "report.html")
    page = (project / "report.html").read_text()
    start = page.index("{", page.index("var results = {"))
    found = json.JSONDecoder().raw_decode(page, start)[0]
    names = ("tables/table1.csv", "tables/selection.csv", "figures/figure1.png", "index.html")
    assert set(found) == {f"reports/{name}" for name in names}
    for path, entry in found.items():
        content = base64.b64decode(entry["data_uri"].partition(";base64,")[2])
        assert content == (project / path).read_bytes()
    labels = [entry["labels"] for entry in found.values()]
    assert sorted(label for entry in labels for label in entry.items()) == [
        ("figure", "figure1"), ("page", "everything"), ("table", "selection"), ("table", "table1")
    ]  # fmt: skip
    captions = [entry["caption"] for entry in found.values()]
    assert len(set(captions)) == 4 and all(len(words) > 40 for words in captions)
    # nothing that a browser would load from elsewhere
    assert not re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?(?:https?:)?//", page)


def test_every_table_and_figure_has_words_for_the_report():
    """Else a study that asks for it could not make a report."""
    folder = sandbox.ROOT / "workflow" / "report"
    captions = {path.stem: path.read_text().strip() for path in folder.glob("*.rst")}
    assert captions.keys() == {*TABLES, *FIGURES, "page"}
    assert len(set(captions.values())) == len(captions) and all(captions.values())


def test_runs_without_a_number_are_shown_with_the_reason(project):
    """One run diverges, the runs of an inert term are left out, the others go on."""
    path = project / "params.yaml"
    # values of 1e30 squared, as layer norms do, are beyond float32
    sandbox.change(path, "techniques", "b_v", to={"learning_rate": 1e30})
    study(project, techniques=["b_v", "b_q", "b_k"], skip_inert=True, figures=["figure1"])
    done = sandbox.snakemake(project)
    assert len(sandbox.trained(done)) == 1
    table = runs(project).set_index("technique")
    assert dict(table["status"]) == {
        "b_v": "diverged",
        "b_q": "ok",
        # softmax ignores a constant added to all scores of a row, whatever the weights
        "b_k": "skipped",
        "all_biases": "ok",
        "untuned": "ok",
    }
    assert table["best"].isna().to_dict() == {
        **dict.fromkeys(table.index, False),
        "b_v": True,
        "b_k": True,
    }
    problems = pd.read_csv(project / "reports" / "problems.csv").merge(
        runs(project)[["digest", "technique"]]
    )
    reasons = problems.set_index("technique")["reason"]
    assert "not finite" in reasons["b_v"] and "inert" in reasons["b_k"]
    assert set(reasons.index) == {"b_v", "b_k"}
    for name in ("tables/table1.csv", "tables/table1.md", "index.html"):
        text = (project / "reports" / name).read_text()
        assert "diverged" in text and "inert" in text, name
    assert not list(project.glob("data/runs/*/*/*/b_k"))
    sandbox.run(project, "beft", "verify")


def test_plan_says_what_is_there_and_what_the_rest_costs(project):
    """Of two seeds one is there, and says how long the other takes; of a new model nobody knows."""
    said = sandbox.run(project, "beft", "plan").stdout
    there = len(list((project / "data" / "runs").rglob("metrics.json")))
    assert f"to run: 0 of {there}" in said
    sandbox.change(project / "studies" / "mini.yaml", "seeds", to=[0, 1])
    said = sandbox.run(project, "beft", "plan").stdout
    assert f"to run: {there} of {2 * there}" in said
    assert "hours of one job's time" in said and f"fitted to {there} runs" in said
    sandbox.change(project / "params.yaml", "models", "tiny", "hub", to="owner/other")
    said = sandbox.run(project, "beft", "plan").stdout
    assert f"time of {2 * there} runs is unknown" in said


def test_jobs_ask_for_more_where_the_model_is_larger(tmp_path):
    """And for what execution says where it is small."""
    project = sandbox.make(tmp_path / "project")
    path = project / "params.yaml"
    sandbox.change(path, "execution", to={"memory_mb": 3000, "runtime_minutes": 20})

    def asked() -> tuple[int, int]:
        said = sandbox.snakemake(project, "-n", "runs").stdout
        (line,) = (x for x in said.splitlines() if "resources:" in x and "gpu=" in x)
        numbers = dict(item.split("=") for item in re.findall(r"\w+=\d+", line))
        return int(numbers["mem_mb"]), int(numbers["runtime"])

    assert asked() == (3000, 20)
    sandbox.change(path, "models", "tiny", "parameters", to=10**9)
    memory, runtime = asked()
    assert memory > 4 * 10**9 / 2**20 and runtime == 20
    sandbox.change(path, "tasks", "demo_sentiment", "epochs", to=10**6)
    sandbox.run(project, "beft", "fetch", "--task", "demo_sentiment")
    assert asked()[1] > 60


def test_gpus_are_a_matter_of_resources_and_train_nothing_again(project):
    """The same packs on a GPU are the same jobs; there is none here, so `auto` is the CPU."""
    gpu = ("--set-resources", "train:gpu=1")
    local = ("--profile", "profiles/local")
    for arguments in (gpu, local):
        assert NOTHING in sandbox.snakemake(project, "-n", *arguments).stdout, arguments
    for arguments, device in (((), "cpu"), (gpu, "auto"), (local, "auto")):
        dry = sandbox.snakemake(project, "-n", "-p", "--forcerun", "train", *arguments)
        assert f"--device {device} " in dry.stdout, arguments
    study(project, seeds=[0, 1], **CHEAP)
    before = sandbox.marks(project / "data" / "runs")
    sandbox.snakemake(project, "runs", *local)
    after = sandbox.marks(project / "data" / "runs")
    assert {path: after.get(path) for path in before} == before
    assert len(after) == 2 * len(before)
