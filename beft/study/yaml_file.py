"""YAML mappings from files, where a name that is defined twice is an error."""

from collections.abc import Hashable
from pathlib import Path

import yaml

from beft.errors import UserError, one_line


class _Loader(yaml.SafeLoader):
    """YAML where a name defined twice is an error, not a silent overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                raise UserError(f"{self.name}: line {line}: a key must be a single value")
            if key in seen:
                raise UserError(f"{self.name}: line {line}: '{key}' is defined twice")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict:
    """A YAML mapping from a file.

    Raises:
        UserError: when the file is missing, empty, not UTF-8, not YAML, or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (UnicodeDecodeError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    try:
        loader = _Loader(text)
        loader.name = str(path)
        data = loader.get_single_data()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid YAML ({one_line(error)})") from None
    if not isinstance(data, dict):
        what = "empty" if data is None else "not a mapping of keys to values"
        raise UserError(f"{path}: the file is {what}")
    return data
