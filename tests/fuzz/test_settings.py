"""params.yaml and studies with random damage: a plan, or one line that says what is wrong."""

import copy
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support import sandbox
from support.fuzzing import fuzzed

from beft.errors import UserError
from beft.operations.cost import Costs
from beft.operations.plan import Plan, as_lines, as_table
from beft.study.project import load, load_for_workflow

PARAMS = sandbox.PARAMS | {
    "decoder": {"scoring": "plain"},
    "models": {
        "tiny": {"path": "models/tiny"},
        "far": {"hub": "own/far", "revision": "r1", "kind": "decoder", "parameters": 1000},
        "packed": {"hub": "own/p", "revision": "r", "package": "p/model", "sha256": "0" * 64},
    },
    "tasks": sandbox.PARAMS["tasks"]
    | {
        "mine": {
            "path": "mine",
            "text": ["{text}"],
            "label": "label",
            "labels": ["no", "yes"],
            "metric": "f1",
            "regimes": {"low": 2, "medium": "all"},
            "learning_rate": 1e-3,
            "epochs": 2,
            "prompt": {"template": "{text} ?", "passage": "text", "answers": ["no", "yes"]},
            "models": {"tiny": {"epochs": 3}},
            "techniques": {"full": {"dropout": 0.1}},
        }
    },
    "execution": {"threads": 1, "checkpoint_seconds": 1.5},
}
STUDY = sandbox.STUDY | {
    "tasks": ["demo_sentiment", "mine"],
    "training": {"held_out": 0.2, "pooling": "mean", "class_weights": "balanced"},
    "selectors": ["projection", "fisher"],
    "tables": ["table1"],
    "timing": [{"model": "tiny", "task": "mine", "regime": "low", "techniques": ["b_v"]}],
    "also": [{"seeds": [1], "techniques": ["full"]}],
    "merging": [
        {"model": "tiny", "tasks": ["mine", "demo_sentiment"], "regime": "low", "technique": "b_v"}
    ],
}
# The same with definitions of its own.
OWN = STUDY | {
    "models": {"tiny": None, "other": {"path": "models/tiny", "kind": "encoder"}},
    "tasks": {"demo_sentiment": None, "mine": None, "yours": PARAMS["tasks"]["mine"]},
    "also": [{"tasks": {"theirs": PARAMS["tasks"]["mine"] | {"stratify": True}}, "seeds": [1]}],
}
VALUES = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 10**18, 0.5, -0.5, 1e308, 5e-324),
    *(float("inf"), float("nan"), "", " ", "a", "no", "b_v", "all", "low", "mini", "tiny", "full"),
    *("../x", "/", "/dev/zero", "/dev", "a/b", "..", ".", "~", "*", "-", "--help", "x" * 5000),
    *(
        "{text}",
        "{",
        "{}",
        "{{text}}",
        "{0}",
        "{text.__class__}",
        "{wildcard}",
        "%s",
        "$(id)",
        "`id`",
    ),
    *("it's", '"', "a\nb", "<script>", "\u202e", "\ufeff", "\u2028", "\U0001f600", "ä", "é" * 200),
    *(
        "1e3",
        "0x10",
        "1_0",
        "nan",
        "null",
        "2024-01-01",
        "12:30",
        "=cmd",
        "@x",
        "[x]",
        "sst2",
        "wsc",
    ),
    *([], {}, [[]], {"": None}, [None], [1, 1], ["a", "a"], {"a": {"b": {"c": 1}}}, [{}], {1: 2}),
    *([0] * 50, list(range(3000)), {"union": ["mini", "mini"]}, ["mini", "studies/mini.yaml"]),
]
SNIPPETS = [
    *("!!int ''", "!!float ''", "!!bool x", "!!timestamp x", "!!binary x", "!!set {a}", "!x y"),
    *(
        "!!python/object/apply:os.getcwd []",
        "&a",
        "*a",
        "&a [*a]",
        "<<: *a",
        "<<: {a: 1}",
        "? [a]\n: b",
    ),
    *("---\n", "...\n", "%YAML 1.2\n---\n", "\t", "\n", "\r", "\0", "\x1b[31m", "\ufeff", "\ud800"),
    *(
        '"\\0"',
        '"\\ud800"',
        '"\\x1b"',
        '"',
        "'",
        "[",
        "]",
        "{",
        "}",
        ": ",
        "- ",
        "# ",
        "|\n",
        ">\n",
        "|9\n",
    ),
    *("1" * 5000, "0x" + "f" * 5000, "[" * 200, "{a: " * 100, "- " * 100, "a: " * 50, "x" * 10000),
    *(
        "1e999",
        ".inf",
        ".nan",
        "010",
        "1:2:3",
        "~",
        "yes",
        "=",
        "<<",
        "union: [mini, mini]\n",
        "'\n'",
    ),
]
BROKEN = st.tuples(
    st.lists(
        st.tuples(
            st.integers(0, 10**4),
            st.sampled_from(["put", "put", "put", "drop", "add", "wrap", "swap"]),
            st.sampled_from(VALUES),
        ),
        max_size=3,
    ),
    st.lists(
        st.tuples(st.integers(0, 10**4), st.integers(0, 20), st.sampled_from(["", *SNIPPETS])),
        max_size=2,
    ),
)


def places(data: object, found: list) -> list[tuple]:
    """Every place in a tree: the dict or list, and the key."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        found.append((data, key))
        if isinstance(value, dict | list):
            places(value, found)
    return found


def damaged(data: dict, structure: list, text: list) -> bytes:
    """A tree as YAML after changes of its structure, then of its text."""
    data = copy.deepcopy(data)
    for where, how, value in structure:
        if not (found := places(data, [])):
            break
        value = copy.deepcopy(value)
        holder, key = found[where % len(found)]
        other, name = found[(7 * where + 3) % len(found)]
        if how == "drop":
            del holder[key]
        elif how == "add" and isinstance(holder, dict):
            holder[value if isinstance(value, str | int | float | None) else "x"] = value
        elif how == "wrap":
            holder[key] = [holder[key]]
        elif how == "swap":
            holder[key] = copy.deepcopy(other[name])
        else:
            holder[key] = value
    written = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    for where, length, snippet in text:
        start = where % (len(written) + 1)
        written = written[:start] + snippet + written[start + length :]
    return written.encode(errors="surrogatepass")


def plan(params: Path) -> None:
    """What `beft plan` does, and what the workflow does before."""
    load_for_workflow(params, {})
    project = load(params)
    planned = Plan(project, Costs(project))
    as_table(planned)
    as_lines(planned)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = sandbox.make(tmp_path_factory.mktemp("fuzz") / "project", PARAMS, STUDY)
    (folder / "mine").mkdir()
    for split in ("train", "validation"):
        (folder / "mine" / f"{split}.csv").write_text("text,label\na,no\nb,yes\nc,no\n")
    plan(folder / "params.yaml")
    return folder


@pytest.mark.parametrize(
    ("name", "sound"),
    [("params.yaml", PARAMS), ("studies/mini.yaml", STUDY), ("studies/mini.yaml", OWN)],
    ids=["params", "study", "own"],
)
@fuzzed
@given(broken=BROKEN)
def test_settings(root, name, sound, broken):
    content = damaged(sound, *broken)
    (root / name).write_bytes(content)
    began = time.monotonic()
    try:
        plan(root / "params.yaml")
    except UserError as error:
        said = str(error)
        assert said.splitlines() == [said] and len(said) < 1500, said
    finally:
        sandbox.write(root / name, sound)
    assert time.monotonic() - began < 20, content[:2000]
