"""YAML mappings from files: plain data of bounded size, in which every name is defined once."""

import re
import stat
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.reader import Reader

from beft.errors import UserError, one_line, shortened

MOST_BYTES = 2**20  # of a file
MOST_VALUES = 20_000  # of a file, where an alias counts as all that it stands for
MOST_LEVELS = 50
LARGEST = 2**63 - 1  # whole number

CORE = "tag:yaml.org,2002:"
KINDS = {f"{CORE}{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}
# Plain words that are read as YAML 1.1 does. All else that it takes for a date or a number is text
# here, as in YAML 1.2: 2024-01-01, 12:30 (which would be 750) and 010 (8).
AS_EVER = {f"{CORE}{kind}" for kind in ("null", "bool", "merge")}
WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+)\Z")
DECIMAL = re.compile(
    r"(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|[-+]?\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)


class _Loader(yaml.SafeLoader):
    """YAML that is checked while it is read, before anything is made of it."""

    def __init__(self, text: str, path: Path) -> None:
        super().__init__(text)
        self.name = str(path)
        self.level = self.values = 0
        self.sizes: dict[str | None, int] = {}  # name of an alias -> the values that it stands for

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event, before = self.peek_event(), self.values
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.anchors and event.anchor not in self.sizes:
                self.refuse(event, f"'*{event.anchor}' stands for something that contains it")
            self.values += self.sizes.get(event.anchor, 1)
        else:
            self.values += 1
        if self.values > MOST_VALUES:
            self.refuse(event, f"more than {MOST_VALUES} values, with aliases written out")
        self.level += 1
        if self.level > MOST_LEVELS:
            self.refuse(event, f"nested in more than {MOST_LEVELS} levels")
        node = super().compose_node(parent, index)
        self.level -= 1
        if node is not None and node.tag not in KINDS:
            self.refuse(event, f"tag '{shortened(node.tag.removeprefix(CORE))}' is not supported")
        if event.anchor is not None and not isinstance(event, yaml.AliasEvent):
            self.sizes[event.anchor] = self.values - before
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if sign := Reader.NON_PRINTABLE.search(node.value):
            self.refuse(node, f"a character that cannot be printed ({ascii(sign.group())})")
        if node.tag not in KINDS or node.tag == f"{CORE}merge":
            return node
        try:
            value = self.construct_object(node)
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError):
            kind = node.tag.removeprefix(CORE)
            self.refuse(node, f"'{shortened(node.value)}' cannot be read as {kind}")
        if isinstance(value, int) and abs(value) > LARGEST:
            self.refuse(node, f"'{shortened(node.value)}' is too large a number")
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == f"{CORE}merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self.refuse(key_node, "a key must be a single value")
            key = self.construct_object(key_node)
            if key in seen:
                self.refuse(key_node, f"'{shortened(key)}' is defined twice")
            seen.add(key)
        return node

    def refuse(self, at: yaml.Event | yaml.Node, why: str) -> NoReturn:
        line = at.start_mark.line + 1 if at.start_mark else 1
        raise UserError(f"{self.name}: line {line}: {why}")


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, words) for tag, words in known if tag in AS_EVER]
    for letter, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(f"{CORE}float", DECIMAL, list("-+0123456789."))
_Loader.add_implicit_resolver(f"{CORE}int", WHOLE, list("-+0123456789"))


def read_yaml(path: Path) -> dict:
    """A YAML mapping from a file.

    Raises:
        UserError: when the file is missing, empty, too large, not UTF-8, not YAML, not a mapping,
            or not a file but a device; one line, which names the line of the file.
    """
    try:
        loader = _Loader(_content(path).decode("utf-8"), path)
        data = loader.get_single_data()
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML ({one_line(error, 300)})") from None
    if not isinstance(data, dict):
        what = "empty" if data is None else "not a mapping of keys to values"
        raise UserError(f"{path}: the file is {what}")
    return data


def _content(path: Path) -> bytes:
    """The bytes of a regular file; opening a pipe or device could wait or never end."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path}: cannot be read (not a regular file)")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{shortened(path)}: cannot be read ({reason})") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"{path}: larger than {MOST_BYTES // 2**20} MB, which settings never are")
    return content
