"""The lines that docs/cluster.md begins with, word for word, on the tests' cluster."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ASKS_OFTEN
from support import hub, paper_hub, sandbox

from beft import code_identity
from beft.study.params import load_params
from beft.study.recipe import RECIPE_VERSION

# Each architecture of the paper, in one short job.
STUDY = {
    "models": ["bert-base-cased", "roberta-base"],
    "tasks": ["cb"],
    "regimes": ["low"],
    "techniques": ["b_v"],
    "seeds": [0],
    "selectors": [],
    "training": {"epochs": 1},
    "also": [
        {
            "models": ["opt-6.7b", "llama-2-7b", "gpt-j-6b"],
            "tasks": ["copa"],
            "techniques": ["zero_shot"],
        }
    ],
    "tables": ["table4"],
    "figures": [],
}
# Stand-ins for what a test cannot do: an editor, a terminal that stays, and an installation of
# gigabytes. The environment that `python3 -m venv` makes finds what is installed for the tests.
NANO = """#!/bin/sh
sed -i -e "s/^# default-resources:/default-resources:/" \\
  -e "s/^#   slurm_partition: .*/  slurm_partition: \\"'main'\\"/" \\
  -e "s/^\\(slurm-init-seconds-before-status-checks\\): 20/\\1: 1/" \\
  -e "s/^\\(latency-wait\\): 60/\\1: 5/" "$1"
"""
TMUX = "#!/bin/sh\nexit 0\n"
PYTHON3 = """#!{python}
import subprocess, sys
from pathlib import Path
*start, place = sys.argv[1:]
subprocess.run(["{python}", *start, "--without-pip", place], check=True)
library = next(Path(place).glob("lib/python*/site-packages"))
(library / "tests.pth").write_text({packages!r})
for name, module in (("pip", "pip._internal.cli.main"), ("snakemake", "snakemake.cli")):
    script = Path(place).resolve() / "bin" / name
    python = script.with_name("python")
    lines = f"#!{{python}}", "import sys", f"from {{module}} import main", "sys.exit(main())"
    script.write_text("\\n".join(lines))
    script.chmod(0o755)
"""


def repository(folder: Path) -> None:
    """This repository as it is now, with a short study in place of the paper's."""
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listed, cwd=sandbox.ROOT, capture_output=True, text=True, check=True)
    for name in filter(None, names.stdout.split("\0")):
        if (sandbox.ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sandbox.ROOT / name, folder / name)
    sandbox.write(folder / "studies" / "paper.yaml", STUDY)
    with (folder / "workflow" / "rules" / "slurm.smk").open("a") as file:
        file.write(ASKS_OFTEN)
    accepted = {str(RECIPE_VERSION): [code_identity.code_digest(folder / "beft")]}
    (folder / "beft" / "store" / "accepted_code.json").write_text(json.dumps(accepted))
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for command in (("init", "-q"), ("add", "-A"), (*who, "commit", "-q", "-m", "as it is")):
        subprocess.run(["git", *command], cwd=folder, check=True)


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def server():
    with hub.serving() as running:
        paper_hub.fill(running, load_params(sandbox.ROOT / "params.yaml"))
        yield running


def test_from_the_login_node_to_the_report(cluster, server, tmp_path):
    text = (sandbox.ROOT / "docs/cluster.md").read_text()
    lines = re.search(r"```bash\n(.*?)```", text, re.S)[1]
    assert len(lines.splitlines()) == 10
    repository(tmp_path / "REPOSITORY")
    packages = [p for p in sys.path if p.endswith("-packages")]
    python = PYTHON3.format(python=sys.executable, packages="\n".join(packages))
    for name, content in (("nano", NANO), ("tmux", TMUX), ("python3", python)):
        program(tmp_path / "bin" / name, content)
    variables = sandbox.environment(
        **server.variables(),
        HF_TOKEN=hub.TOKEN,
        HF_HOME=str(tmp_path / "hf"),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        PIP_NO_INDEX="1",
        PIP_NO_BUILD_ISOLATION="0",
        PIP_DISABLE_PIP_VERSION_CHECK="1",
    )
    del variables["HF_HUB_OFFLINE"]  # as on a login node
    variables["PATH"] = f"{tmp_path / 'bin'}{os.pathsep}{variables['PATH']}"
    with (tmp_path / "log").open("w") as log:
        command = ["bash", "-euo", "pipefail", "-x", "-c", lines]
        done = subprocess.run(
            command, cwd=tmp_path, env=variables, stdout=log, stderr=log, timeout=900
        )
    said = (tmp_path / "log").read_text()
    assert done.returncode == 0, said
    assert said.splitlines()[-1] == "reports/index.html"
    with (tmp_path / "beft" / "reports" / "runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert sorted(run["model"] for run in runs) == sorted(
        [*STUDY["models"], *STUDY["also"][0]["models"]]
    )
    assert {run["status"] for run in runs} == {"ok"}
    assert not list((tmp_path / "beft" / "data").rglob("*.bin"))
    assert cluster.jobs()
