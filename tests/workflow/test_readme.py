"""Every command that the README shows, run as it stands, in a finished project.

Those for own data, which need no project, are run by tests/packaging/test_wheel.py.
"""

import re
import shutil
import subprocess

import pytest
import yaml
from support import sandbox

from beft.study.studies import Study, load_study

README = (sandbox.ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, flags=re.S)
OWN_DATA = ("beft tune", "beft predict")
COMMANDS = [
    line.partition("#")[0].strip()
    for language, block in BLOCKS
    if language == "bash"
    for line in block.splitlines()
    if line.strip() and not line.startswith(OWN_DATA)
]
# Run in the sandbox with its own small study; `make` would install an environment first, and
# submitting needs a cluster, so of those the plan is asked for.
STUDIES = ("real_small", "table1")


def of_language(name: str) -> str:
    return next(block for language, block in BLOCKS if language == name)


def in_sandbox(command: str) -> list[str]:
    for study in STUDIES:
        command = command.replace(study, "mini")
    words = command.split()
    if words[0] == "make" or (words[0] == "snakemake" and "slurm" in words):
        words.insert(1, "-n")
    return words


def test_every_command_of_the_readme_works(project):
    shutil.copytree(sandbox.ROOT / "beft", project / "beft")  # dvc's stages depend on it
    again = ["commit", "-qm", "again", "--allow-empty"]  # HEAD~1 is a commit, too
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"], again):
        identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
        subprocess.run(["git", *identity, *arguments], cwd=project, check=True)
    assert len(COMMANDS) >= 10
    for command in COMMANDS:
        words = in_sandbox(command)
        sandbox.run(sandbox.ROOT if words[0] == "make" else project, *words)


def test_what_a_study_measures_is_spelled_as_shown():
    """On top of the study of the paper's Table 3, with Table 2's techniques."""
    study = yaml.safe_load((sandbox.ROOT / "studies" / "table3.yaml").read_text())
    shown = yaml.safe_load(of_language("yml"))
    made = Study.model_validate(study | {"techniques": ["b_v", "full"]} | shown)
    assert load_study("table3", sandbox.ROOT).merging == made.merging
    assert made.timing[0].techniques == ["b_v", "full"]


def test_studies_that_the_readme_names_exist():
    for study in STUDIES:
        assert study in README
        assert (sandbox.ROOT / "studies" / f"{study}.yaml").is_file()


def test_python_example_does_what_it_says():
    scope: dict = {}
    code = of_language("python")
    exec(compile(code, "README.md", "exec"), scope)
    assert "array([1., 0.])" in code
    result = scope["selectors"].projection(scope["before"], scope["after"])
    assert result.tolist() == pytest.approx([1.0, 0.0])


def test_task_example_is_trained(project):
    """The files and the definition that the README describes, through the pipeline."""
    folder = project / "my" / "reviews"
    folder.mkdir(parents=True)
    for split, rows in (("train", 200), ("validation", 20)):
        lines = [f"a {'good' if i % 2 else 'bad'} film,{['negative', 'positive'][i % 2]}"
                 for i in range(rows)]  # fmt: skip
        (folder / f"{split}.csv").write_text("\n".join(["text,label", *lines]) + "\n")
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["tasks"] |= yaml.safe_load(of_language("yaml"))["tasks"]
    sandbox.write(project / "params.yaml", params)
    study = sandbox.STUDY | {"tasks": ["reviews"], "techniques": ["b_v"], "selectors": []}
    sandbox.write(project / "studies" / "mine.yaml", study)
    sandbox.snakemake(project, "runs", "--config", "study=mine")
    found = list((project / "data" / "runs" / "tiny" / "reviews").rglob("metrics.json"))
    assert len(found) == 1
