"""The rules that keep code readable: short files and functions, one name once, mirrored tests."""

import ast
from collections import Counter
from pathlib import Path

import pytest
from support.sandbox import ROOT

MODULES = sorted(path.relative_to(ROOT) for path in (ROOT / "beft").rglob("*.py"))
TESTED = sorted((ROOT / "tests" / "unit").rglob("test_*.py"))


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_modules_and_functions_are_short(module):
    text = (ROOT / module).read_text()
    assert len(text.splitlines()) <= 250
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds)]
    assert [f.name for f in functions if (f.end_lineno or 0) - f.lineno >= 60] == []


def test_siblings_have_different_names():
    """No module bears the name of a package beside it."""
    names = Counter(path.parent / path.stem for path in MODULES if path.name != "__init__.py")
    names.update(path.parent for path in MODULES if path.name == "__init__.py")
    assert [str(name) for name, count in names.items() if count > 1] == []


def test_unit_tests_lie_where_the_code_does():
    """Each folder of unit tests is one of the package's."""
    folders = {path.parent.relative_to(ROOT / "tests" / "unit") for path in TESTED}
    assert [str(f) for f in folders if not (ROOT / "beft" / f).is_dir()] == []


def test_packages_say_nothing_themselves():
    """Their `__init__.py` is empty, but for those that offer names to notebooks and registries."""
    speaking = {"beft", "beft/selectors", "beft/tasks", "beft/techniques", "beft/models/demo"}
    inits = {path.parent for path in MODULES if path.name == "__init__.py"}
    loud = {str(p) for p in inits if (ROOT / p / "__init__.py").read_text().strip()}
    assert loud <= speaking
    assert Path("beft/engine") in inits
