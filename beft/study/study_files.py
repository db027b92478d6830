"""Which files are studies: those in studies/ that end in .yaml, and files elsewhere by their path.

What studies/ holds besides is no study for any command: no run can come from a file that
`beft prune` does not read.
"""

import os
import re
from pathlib import Path

from beft.errors import UserError, shortened
from beft.study.fields import NAME, nearest

FOLDER, SUFFIX = "studies", ".yaml"
LIKE_ONE = re.compile(
    r"\.(ya?ml|json)", re.IGNORECASE
)  # in names such as x.yml, X.YAML, x.yaml.bak


def study_files(root: Path) -> list[Path]:
    """The studies in studies/, by name."""
    return sorted(path for path in (root / FOLDER).glob(f"*{SUFFIX}") if path.is_file())


def mistakable(root: Path) -> list[Path]:
    """What somebody may take for a study in studies/, though it is none."""
    found = []
    for folder, folders, files in os.walk(root / FOLDER):
        links = [name for name in folders if (Path(folder) / name).is_symlink()]
        likely = [name for name in (*folders, *files) if LIKE_ONE.search(name)]
        found += [Path(folder) / name for name in {*links, *likely}]
    return sorted({*found}.difference(study_files(root)))


def study_path(name: str, root: Path) -> Path:
    """The file of a study given by name (in `studies/`) or by path.

    Raises:
        UserError: there is no study of this name, or the path names something in studies/ that is
            not a study.
    """
    if _is_name(name):
        path = root / FOLDER / f"{name}{SUFFIX}"
        if not path.is_file():
            known = [p.stem for p in study_files(root)]
            raise UserError(f"study '{name}': {path} does not exist; {nearest(name, known)}")
        return path
    path = root / name
    folder, real = os.path.realpath(root / FOLDER), Path(os.path.realpath(path))
    if real.is_relative_to(folder) and (real.parent != Path(folder) or real.suffix != SUFFIX):
        raise UserError(
            f"{shortened(path)}: not a study; in {FOLDER}/, studies are the files NAME{SUFFIX}, "
            "in no folder below it, so rename or move it"
        )
    return path


def is_elsewhere(name: str, root: Path) -> bool:
    """Whether a study that was given by this name or path is a file outside studies/."""
    real = Path(os.path.realpath(root / name))
    outside = not real.is_relative_to(os.path.realpath(root / FOLDER))
    return outside and not _is_name(name) and real.is_file()


def _is_name(name: str) -> bool:
    return bool(NAME.fullmatch(name)) and not name.endswith((SUFFIX, ".yml"))
