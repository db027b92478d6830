"""Which code gave a number: a digest of the modules that decide results, and which are equivalent.

A recipe's identity holds `RECIPE_VERSION`, not the code, so that a reworded comment does not
retrain a cluster. The other half of the promise is here: every run records the digest of the code
that decides numbers, and `beft verify` accepts only digests that `numerics.json` lists for the
current version. Whoever edits that code has two ways on: bump `RECIPE_VERSION` (everything is
trained anew), or add the digest to the list (`beft verify --accept-code`), which says that results
are the same.
"""

import ast
import hashlib
import io
import json
import tokenize
from functools import cache
from pathlib import Path

from beft.recipe import RECIPE_VERSION

PACKAGE = Path(__file__).parent
LEDGER = PACKAGE / "numerics.json"
# Modules that decide no number of a run: whatever is not named here counts, so that a new module
# cannot be forgotten. Scores and reports are recomputed from runs by `beft verify` itself.
_NAMES = """
    __init__ angles cli commands cost demand errors export fetching fields gpus hashing hub locks
    measured merge merges merging mirror numerics owners params plan profiles progress project
    provenance prune quiet recover repair resampling scores selectors sizes staging stock store
    studies timing transfers transplant verify yamlfile
"""
BYSTANDERS = frozenset(f"{name}.py" for name in _NAMES.split())

OUTSIDE = ("report/", "demo_decoders/")  # what is drawn from runs; what made the demo's decoders


def essence(source: str) -> str:
    """Source text without comments, docstrings and blank lines, which change no number."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
            continue
        value = body[0].value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            for line in range(value.lineno - 1, value.end_lineno):
                lines[line] = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    return "\n".join(line.rstrip() for line in lines if line.strip())


def modules(package: Path = PACKAGE) -> list[str]:
    """The modules that decide numbers, relative to the package."""
    names = sorted(path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    return [n for n in names if n not in BYSTANDERS and not n.startswith(OUTSIDE)]


@cache
def code_digest(package: Path = PACKAGE) -> str:
    """16 hexadecimal digits over the essence of every module that decides numbers."""
    total = hashlib.sha256()
    for name in modules(package):
        total.update(f"{name}\n".encode())
        total.update(essence((package / name).read_text(encoding="utf-8")).encode())
    return total.hexdigest()[:16]


def accepted(ledger: Path = LEDGER) -> list[str]:
    """Digests of code that gives the results of the current `RECIPE_VERSION`."""
    try:
        return json.loads(ledger.read_text()).get(str(RECIPE_VERSION), [])
    except FileNotFoundError:
        return []


def accept(ledger: Path = LEDGER) -> str:
    """Declares the current code equivalent to the others of its version; returns its digest."""
    from beft.store import to_json, write_file

    known = json.loads(ledger.read_text()) if ledger.exists() else {}
    digests = known.setdefault(str(RECIPE_VERSION), [])
    if code_digest() not in digests:
        digests.append(code_digest())
    write_file(ledger, to_json(known))
    return code_digest()
