"""The digest of the code that decides numbers: what it sees, what it overlooks, who accepts it."""

import ast
import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from beft import code_identity
from beft.store import accepted_code
from beft.study.recipe import RECIPE_VERSION

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
# A docstring that shares its line, a text of several lines, and text that stands alone.
DENSE = """class Round:
    'Without corners é.'; corners = 0
    prompt = '''Is it round?

Answer: '''
    if next(draws): 'not a docstring'
"""
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
    assert code_identity.essence(CODE.replace(old, new)) == code_identity.essence(CODE)


@pytest.mark.parametrize(("old", "new"), OTHER.values(), ids=list(OTHER))
def test_what_may_change_a_number_changes_the_essence(old, new):
    assert CODE.count(old) == 1
    assert code_identity.essence(CODE.replace(old, new)) != code_identity.essence(CODE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("corners = 0", "corners = 4"),
        ("round?\n\n", "round?\n"),
        ("round?\n", "round? \n"),
        ("next(draws)", "True"),
    ],
)
def test_what_stands_beside_a_text_or_within_it_is_seen(old, new):
    essence = code_identity.essence
    assert DENSE.count(old) == 1
    assert essence(DENSE.replace(old, new)) != essence(DENSE)
    assert essence(DENSE.replace("Without corners é", "It has no corners")) == essence(DENSE)


@pytest.fixture
def package(tmp_path):
    """A copy of the package's modules."""
    ignored = shutil.ignore_patterns("__pycache__", "report")
    return shutil.copytree(code_identity.PACKAGE, tmp_path / "beft", ignore=ignored)


def test_every_module_counts_but_for_those_that_decide_no_number(package):
    """A module that nobody thought of is not overlooked: the lists are of exceptions."""
    real = set(code_identity.modules())
    named = (*code_identity.NO_NUMBERS, *code_identity.NOT_REPORTED, *code_identity.REPORTED)
    assert all((code_identity.PACKAGE / name).exists() for name in named)
    assert {"training/loop.py", "data/subsets.py", "study/recipe.py", "engine/slots.py"} <= real
    assert {"tasks/demo/generate.py", "selectors/inert.py", "techniques/random_uniform.py"} <= real
    for new in ("tasks/new.py", "new.py", "new/new.py", "engine/new/new.py"):
        (package / new).parent.mkdir(exist_ok=True)
        (package / new).write_text("NUMBER = 1\n")
    assert set(code_identity.modules(package)) - real >= {"tasks/new.py", "new.py", "new/new.py"}
    assert code_identity.code_digest(package) != code_identity.code_digest()


def test_whatever_reports_can_import_decides_what_they_show():
    """Found by following imports from every module of the report, wherever they stand in it."""
    files = set(code_identity.report_files())
    package, seen = code_identity.PACKAGE, set()
    todo = {f for f in files if f.startswith("report/") and f.endswith(".py")}
    while todo:
        name = todo.pop()
        seen.add(name)
        for node in ast.walk(ast.parse((package / name).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("beft"):
                module = node.module.removeprefix("beft").lstrip(".").replace(".", "/")
                for base in (module, *(f"{module}/{alias.name}" for alias in node.names)):
                    for file in (f"{base}.py", f"{base}/__init__.py"):
                        if (package / file.lstrip("/")).is_file():
                            todo |= {file.lstrip("/")} - seen
    assert "tasks/metrics/answers.py" in seen and "selectors/inert.py" in seen
    assert seen <= files


@pytest.mark.parametrize(
    "new", ["report/new/table.py", "report/page/new.css", "tasks/metrics/new.py", "new.py"]
)
def test_a_new_file_of_the_reports_cannot_escape(tmp_path, new):
    file = tmp_path / new
    file.parent.mkdir(parents=True, exist_ok=True)
    before = code_identity.report_files(tmp_path)
    file.write_text("")
    assert set(code_identity.report_files(tmp_path)) - set(before) == {new}


def test_reports_are_made_again_when_code_that_makes_them_changes(package, tmp_path):
    digests = [code_identity.report_digest(package)]
    for number, name in enumerate(("selectors/inert.py", "tasks/metrics/sums.py")):
        other = shutil.copytree(package, tmp_path / str(number))
        (other / name).write_text((other / name).read_text() + "\nADDED = 1\n")
        digests.append(code_identity.report_digest(other))
    assert len(set(digests)) == 3


def test_the_digest_is_that_of_the_code_wherever_it_lies(package):
    assert code_identity.code_digest(package) == code_identity.code_digest()


def test_an_edit_of_any_module_is_seen_and_a_comment_is_not(package, monkeypatch):
    digest = code_identity.code_digest.__wrapped__  # computed anew for the same folder
    # Most modules stay as they are from one digest to the next.
    monkeypatch.setattr(code_identity, "essence", cache(code_identity.essence))
    before = digest(package)
    for name in code_identity.modules():
        file = package / name
        text = file.read_text()
        file.write_text(text + "\n# a remark\n")
        assert digest(package) == before, name
        file.write_text(text + "\nADDED = 1\n")
        assert digest(package) != before, name
        file.write_text(text)
    assert digest(package) == before == code_identity.code_digest()


def test_modules_that_decide_no_number_do_not_count(package):
    for name in ("cli/app.py", "store/files.py", "data/mirror/hub.py"):
        (package / name).write_text("")
    assert code_identity.code_digest(package) == code_identity.code_digest()


def test_accepting_adds_the_digest_once_and_keeps_the_others(tmp_path):
    ledger = tmp_path / "ledger.json"
    assert accepted_code.accepted(ledger) == []
    ledger.write_text(json.dumps({str(RECIPE_VERSION): ["aaaa"], "0": ["bbbb"]}))
    for _ in range(2):
        assert accepted_code.accept(ledger) == code_identity.code_digest()
    assert accepted_code.accepted(ledger) == ["aaaa", code_identity.code_digest()]
    assert json.loads(ledger.read_text())["0"] == ["bbbb"]


def test_digests_of_another_version_are_not_accepted(tmp_path):
    (tmp_path / "ledger.json").write_text(json.dumps({str(RECIPE_VERSION + 1): ["aaaa"]}))
    assert accepted_code.accepted(tmp_path / "ledger.json") == []


# A process that calls `beft` with a command that imports a module, while others act.
COMMAND = """
import sys
from pathlib import Path
from beft.cli import app
file, before, after = Path(sys.argv[1]), *sys.argv[2:]
del sys.argv[1:]

def command(*given, **named):
    before and file.write_text(before)
    from beft.models import terms
    after and file.write_text(after)
    from beft.code_identity import code_digest
    print(" ".join(terms.PROJECTIONS), code_digest())
    return 0

app.app = command
app.main()
"""


def python(package: Path, *arguments: str) -> str:
    """What a process says that imports a copy of the package, and leaves bytecode there."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return subprocess.run(
        [sys.executable, "-c", *arguments],
        env=kept | {"PYTHONPATH": str(package.parent)},
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def executed(package: Path, before: str = "", after: str = "") -> tuple[str, str]:
    """The order of `PROJECTIONS` that a command executes, and the digest that it records.

    Args:
        before, after: what somebody writes to the module before and after it is imported.
    """
    done = python(package, COMMAND, str(package / "models" / "terms.py"), before, after)
    terms, _, digest = done.strip().rpartition(" ")
    return terms, digest


def test_edits_while_a_command_starts_do_not_part_the_digest_from_the_code(package):
    file = package / "models" / "terms.py"
    ours = file.read_text()
    other = ours.replace('"q", "k", "v"', '"v", "k", "q"')
    assert other != ours
    digests = {}
    for text, terms in ((ours, "q k v"), (other, "v k q")):
        file.write_text(text)
        digests[terms] = code_identity.code_digest.__wrapped__(package)
        for before, after in (("", ""), (ours, other), (other, ours)):
            file.write_text(text)
            assert executed(package, before, after) == (terms, digests[terms])
    assert digests["q k v"] == code_identity.code_digest() != digests["v k q"]


def test_stale_bytecode_is_not_executed(package):
    """Copies and archives may give an edited file the size and time of the one before."""
    file = package / "models" / "terms.py"
    ours, time = file.read_text(), 1_600_000_000
    file.write_text(ours.replace('"q", "k", "v"', '"v", "k", "q"'))
    os.utime(file, (time, time))
    for _ in range(2):  # the bytecode that the first one leaves is what the second one runs
        assert "v k q" in python(
            package, "from beft.models import terms; print(*terms.PROJECTIONS)"
        )
        file.write_text(ours)
        os.utime(file, (time, time))
    assert executed(package) == ("q k v", code_identity.code_digest())


def test_a_command_imports_nothing_that_counts_before_its_code_is_pinned():
    package = code_identity.PACKAGE
    said = python(package, "import sys, beft.cli.app; print(*sys.modules)").split()
    names = {name.removesuffix(".py").replace("/", ".") for name in code_identity.modules()}
    counted = {f"beft.{name.removesuffix('.__init__')}" for name in names}
    assert "beft.cli.app" in said and counted.isdisjoint(said)
