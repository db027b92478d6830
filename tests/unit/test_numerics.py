"""The digest of the code that decides numbers: what it sees, what it overlooks, who accepts it."""

import json
import shutil

import pytest

from beft import numerics
from beft.recipe import RECIPE_VERSION

CODE = '''"""What it is for."""

import math  # the constant


def area(radius):
    """Square units.

    # not a comment, but a docstring
    """
    # why: circles
    text = "# not a comment"

    return math.pi * radius**2, text
'''
SAME = {
    "comment": ("# why: circles", "# because of circles, and nothing else"),
    "comment gone": ("    # why: circles\n", ""),
    "comment after code": ("  # the constant", ""),
    "docstring": ("Square units.", "In square units, never negative."),
    "module's docstring": ("What it is for.", "What else it is for."),
    "longer docstring": ("Square units.\n", "Square units.\n\n    More.\n"),
    "blank lines": ("import math", "\n\nimport math"),
    "spaces at the end": ("radius**2, text", "radius**2, text   "),
}
OTHER = {
    "operator": ("radius**2", "radius**3"),
    "number in a call": ("math.pi", "math.e"),
    "text that looks like a comment": ('"# not a comment"', '"# a comment"'),
    "name": ("def area", "def volume"),
    "indentation": ("    return", "    if radius:\n        return"),
}


@pytest.mark.parametrize(("old", "new"), SAME.values(), ids=list(SAME))
def test_what_changes_no_number_changes_no_essence(old, new):
    assert CODE.count(old) == 1
    assert numerics.essence(CODE.replace(old, new)) == numerics.essence(CODE)


@pytest.mark.parametrize(("old", "new"), OTHER.values(), ids=list(OTHER))
def test_what_may_change_a_number_changes_the_essence(old, new):
    assert CODE.count(old) == 1
    assert numerics.essence(CODE.replace(old, new)) != numerics.essence(CODE)


@pytest.fixture
def package(tmp_path):
    """A copy of the package's modules."""
    ignored = shutil.ignore_patterns("__pycache__", "report")
    return shutil.copytree(numerics.PACKAGE, tmp_path / "beft", ignore=ignored)


def test_every_module_counts_but_for_those_that_decide_no_number(package):
    """A module that nobody thought of is not overlooked: the list is one of exceptions."""
    assert all((numerics.PACKAGE / name).is_file() for name in numerics.BYSTANDERS)
    assert {"train.py", "data.py", "recipe.py", "tasks/demo.py", "techniques/full.py"} <= {
        *numerics.modules()
    }
    (package / "tasks" / "new.py").write_text("NUMBER = 1\n")
    assert set(numerics.modules(package)) == {*numerics.modules(), "tasks/new.py"}
    assert numerics.code_digest(package) != numerics.code_digest()


def test_the_digest_is_that_of_the_code_wherever_it_lies(package):
    assert numerics.code_digest(package) == numerics.code_digest()


@pytest.mark.parametrize("name", numerics.modules())
def test_an_edit_of_any_module_is_seen_and_a_comment_is_not(package, name):
    """Each digest is asked for once per folder, hence the copies."""
    file = package / name
    file.write_text(file.read_text() + "\n# a remark\n")
    assert numerics.code_digest(package) == numerics.code_digest()
    edited = shutil.copytree(package, package.parent / "edited")
    (edited / name).write_text((edited / name).read_text() + "\nADDED = 1\n")
    assert numerics.code_digest(edited) != numerics.code_digest()


def test_modules_that_decide_no_number_do_not_count(package):
    for name in ("cli.py", "commands.py", "store.py", "mirror.py"):
        (package / name).write_text("")
    assert numerics.code_digest(package) == numerics.code_digest()


def test_accepting_adds_the_digest_once_and_keeps_the_others(tmp_path):
    ledger = tmp_path / "ledger.json"
    assert numerics.accepted(ledger) == []
    ledger.write_text(json.dumps({str(RECIPE_VERSION): ["aaaa"], "0": ["bbbb"]}))
    for _ in range(2):
        assert numerics.accept(ledger) == numerics.code_digest()
    assert numerics.accepted(ledger) == ["aaaa", numerics.code_digest()]
    assert json.loads(ledger.read_text())["0"] == ["bbbb"]


def test_digests_of_another_version_are_not_accepted(tmp_path):
    (tmp_path / "ledger.json").write_text(json.dumps({str(RECIPE_VERSION + 1): ["aaaa"]}))
    assert numerics.accepted(tmp_path / "ledger.json") == []
