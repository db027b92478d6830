"""Which code gave a number: a digest of the modules that decide results.

A recipe's identity holds `RECIPE_VERSION`, not the code, so that a reworded comment does not
retrain a cluster. The other half of the promise is here: every run records the digest of the code
that decides numbers, and `beft verify` accepts only digests that `store/accepted_code.json` lists
for the current version. Whoever edits that code has two ways on: bump `RECIPE_VERSION` (everything
is trained anew), or add the digest to the list (`beft verify --accept-code`), which says that
results are the same.
"""

import ast
import hashlib
import io
import tokenize
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent
# Folders and modules that decide no number of a run. Whatever is not named here counts, so that a
# new module or package cannot be forgotten. Scores and reports are recomputed from runs by
# `beft verify` itself.
NO_NUMBERS = (
    *("__init__.py", "code_identity.py", "errors.py"),
    *("adapters/", "cli/", "operations/", "report/", "store/"),
    *("data/mirror/", "models/demo/", "selectors/", "study/"),
    *("training/provenance.py", "training/timing.py"),
)
# Modules in these folders that do decide numbers: which run is trained with which settings, and
# which term counts as inert. Defaults of settings need not be named: they are part of recipes, so
# another default gives another recipe.
NUMBERS = ("selectors/inert.py", "study/recipe.py", "study/resolve.py", "study/grid.py")
# Packages that nothing in `report/` imports, directly or through others.
NOT_REPORTED = ("cli/", "data/", "engine/", "operations/", "training/")


def essence(source: str) -> str:
    """Source text without comments, docstrings and blank lines, which change no number."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
            continue
        value = body[0].value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            for line in range(value.lineno - 1, value.end_lineno or value.lineno):
                lines[line] = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def modules(package: Path = PACKAGE) -> list[str]:
    """The modules that decide numbers, relative to the package."""
    names = [path.relative_to(package).as_posix() for path in package.rglob("*.py")]
    return sorted(n for n in names if n in NUMBERS or not n.startswith(NO_NUMBERS))


@cache
def code_digest(package: Path = PACKAGE) -> str:
    """16 hexadecimal digits over the essence of every module that decides numbers."""
    return _digest(package, modules(package))


def report_files(package: Path = PACKAGE) -> list[str]:
    """The files that may decide what reports show, relative to the package."""
    names = [
        path.relative_to(package).as_posix()
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    ]
    return sorted(n for n in names if not n.startswith(NOT_REPORTED))


@cache
def report_digest(package: Path = PACKAGE) -> str:
    """16 hexadecimal digits over everything that may decide what reports show.

    Snakemake does not see into imported packages; rules of reports take this digest as a parameter.
    """
    return _digest(package, report_files(package))


def _digest(package: Path, names: list[str]) -> str:
    total = hashlib.sha256()
    for name in names:
        total.update(f"{name}\n".encode())
        content = (package / name).read_bytes()
        total.update(essence(content.decode()).encode() if name.endswith(".py") else content)
    return total.hexdigest()[:16]
