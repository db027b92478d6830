"""Which code gave a number: a digest of the modules that decide results.

A recipe's identity holds `RECIPE_VERSION`, not the code, so that a reworded comment does not
retrain a cluster. The other half of the promise is here: every run records the digest of the code
that decides numbers, and `beft verify` accepts only digests that `store/accepted_code.json` lists
for the current version. Whoever edits that code has two ways on: bump `RECIPE_VERSION` (everything
is trained anew), or add the digest to the list (`beft verify --accept-code`), which says that
results are the same.

Commands execute what was digested: `pin` reads those modules once, before the first of them is
imported, and imports take their text from there.
"""

import ast
import hashlib
import io
import sys
import tokenize
from collections.abc import Sequence
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

PACKAGE = Path(__file__).parent
# Folders and modules that decide no number of a run. Whatever is not named here counts, so that a
# new module or package cannot be forgotten. Scores and reports are recomputed from runs by
# `beft verify` itself.
NO_NUMBERS = (
    *("__init__.py", "code_identity.py", "errors.py"),
    *("adapters/", "cli/", "operations/", "report/", "store/"),
    *("data/mirror/", "models/demo/", "selectors/", "study/", "tuning/"),
    *("training/provenance.py", "training/timing.py"),
)
# Modules in these folders that do decide numbers: which run is trained with which settings, and
# which term counts as inert. Defaults of settings need not be named: they are part of recipes, so
# another default gives another recipe.
NUMBERS = ("selectors/inert.py", "study/recipe.py", "study/resolve.py", "study/grid.py")
# Packages of which nothing in `report/` imports a module, directly or through others, ...
NOT_REPORTED = ("cli/", "data/", "engine/", "operations/", "training/", "tuning/")
# ... but these.
REPORTED = ("data/order.py", "data/references.py")


def essence(source: str) -> str:
    """Source text without comments, docstrings and blank lines, which change no number."""
    lines = source.split("\n")
    docstrings: set[int] = set()
    for value in _docstrings(ast.parse(source)):
        first, last = value.lineno - 1, (value.end_lineno or value.lineno) - 1
        for row in range(first, last + 1):
            line = lines[row].encode()  # columns of the syntax tree count bytes
            start = value.col_offset if row == first else 0
            end = (value.end_col_offset or len(line)) if row == last else len(line)
            blank = " " * len(line[start:end].decode())
            lines[row] = line[:start].decode() + blank + line[end:].decode()
        docstrings |= set(range(first, last))
    within: set[int] = set()  # lines that end inside of a text, where spaces count
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT:
            lines[row - 1] = lines[row - 1][:column]
        within |= set(range(row - 1, token.end[0] - 1)) - docstrings
    kept = (line if row in within else line.rstrip() for row, line in enumerate(lines))
    return "\n".join(line for row, line in enumerate(kept) if line or row in within)


def _docstrings(tree: ast.Module) -> list[ast.Constant]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, documented):
            first = node.body[0] if node.body else None
            value = first.value if isinstance(first, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found.append(value)
    return found


def decides(name: str) -> bool:
    """Whether a module decides numbers; `name` is relative to the package."""
    return name in NUMBERS or not name.startswith(NO_NUMBERS)


def modules(package: Path = PACKAGE) -> list[str]:
    """The modules that decide numbers, relative to the package."""
    names = [path.relative_to(package).as_posix() for path in package.rglob("*.py")]
    return sorted(filter(decides, names))


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
    return sorted(n for n in names if n in REPORTED or not n.startswith(NOT_REPORTED))


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
        content = _PINNED.get(str(package / name)) or (package / name).read_bytes()
        total.update(essence(content.decode()).encode() if name.endswith(".py") else content)
    return total.hexdigest()[:16]


_PINNED: dict[str, bytes] = {}  # path -> text of the modules that decide numbers, as executed


def pin() -> None:
    """Makes this process execute the code that decides numbers as it is on disk now.

    Otherwise Python reads a module when it is first imported, minutes later perhaps, or does not
    read it at all but runs cached bytecode, which an edit of the same size and time leaves stale.
    Then the digest could be of other code than what ran.
    """
    if not _PINNED:
        _PINNED.update({str(PACKAGE / n): (PACKAGE / n).read_bytes() for n in modules()})
        sys.meta_path.insert(0, _Finder)


class _Finder:
    """Finds the modules of this package that decide numbers."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module with a loader that executes the pinned text; None for all other modules."""
        spec = PathFinder.find_spec(name, path, target) if name.startswith("beft.") else None
        if spec is None or not spec.origin or not Path(spec.origin).is_relative_to(PACKAGE):
            return None
        if not decides(Path(spec.origin).relative_to(PACKAGE).as_posix()):
            return None
        spec.loader = _Loader(name, spec.origin)
        return spec


class _Loader(SourceFileLoader):
    """Compiles a module from the pinned text; reads and writes no cached bytecode."""

    def get_code(self, fullname: str) -> CodeType:
        text = _PINNED.setdefault(self.path, self.get_data(self.path))
        return self.source_to_code(text, self.path)
