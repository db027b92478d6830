"""Find every study of a project: those in studies/, and those elsewhere that runs came from."""

import json
import shlex
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from beft.errors import UserError
from beft.store.run_format import PROVENANCE
from beft.study.definitions import read_params
from beft.study.project import Project, load
from beft.study.study_files import is_elsewhere, mistakable, study_files


def studies_in_use(params: Path, runs: Iterable[Path]) -> list[Project]:
    """The studies in studies/, the one that params.yaml names, and those that runs came from.

    Args:
        runs: folders of runs. Each notes the command that trained it, and so the path of its study.

    Raises:
        UserError: when a study cannot be resolved, because the files that it names are unknown, or
            when studies/ holds what may be a study but is not read.
    """
    root = params.resolve().parent
    if unread := mistakable(root):
        raise UserError(
            f"nothing is pruned, since {unread[0]} may be a study, but only studies/NAME.yaml is "
            "read; rename it, move it out of studies/, or delete it"
        )
    names = [str(path) for path in study_files(root)]
    names += [read_params(params).outline.study]
    names += sorted({name for run in runs if is_elsewhere(name := _study_of(run), root)})
    found = []
    for name in names:
        try:
            found.append(load(params, name))
        except UserError as error:
            raise UserError(
                f"nothing is pruned, since study '{name}' is unclear: {error}"
            ) from None
    return found


def _study_of(run: Path) -> str:
    """The study that a run was trained for, as its command named it; empty if it named none."""
    try:
        words = shlex.split(json.loads((run / PROVENANCE).read_bytes())["command"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return ""
    for word, following in pairwise([*words, ""]):
        if word.startswith("--study"):
            return word.partition("=")[2] or following
    return ""
