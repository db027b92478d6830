"""Everything that a small project's study asks for, made in this process without a workflow."""

from pathlib import Path

from beft.cli.data import fetch, subsample
from beft.study.project import Project, load
from beft.training import pack as runner


def everything(folder: Path) -> Project:
    """Fetches, draws and trains what the study of a project asks for."""
    definitions = folder / "params.yaml"
    fetch(params=definitions)
    project = load(definitions)
    for subset in project.subsets:
        subsample(folder / "data" / "subsets" / subset, params=definitions)
    for key, pack in project.packs.items():
        runner.run_pack(project.layout, pack, folder / "data" / "packs" / key)
    return project
