"""Bring together the definitions that a study uses: those of params.yaml, and those in its file.

A definition is checked when a study uses it, so that one which is half written stops no other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

from pydantic import BeforeValidator

from beft.errors import UserError, shortened
from beft.study import params as P
from beft.study.fields import Name, Several, Strict, validate
from beft.study.params import Section
from beft.study.yaml_file import read_yaml

SECTIONS: tuple[Section, ...] = get_args(Section)


def _names(given: object) -> object:
    return list(given) if isinstance(given, dict) else given


# What a study gives for them: names, or a mapping of names to definitions (`own_definitions`).
Models = Annotated[
    Several[Name],
    BeforeValidator(_names, json_schema_input_type=Several[Name] | dict[Name, P.Model | None]),
]
Tasks = Annotated[
    Several[Name],
    BeforeValidator(_names, json_schema_input_type=Several[Name] | dict[Name, P.Task | None]),
]


class Definitions(Strict):
    """Models and tasks, by the name studies use."""

    models: dict[Name, P.Model] = {}
    tasks: dict[Name, P.Task] = {}


@dataclass(frozen=True)
class Own:
    """A definition that stands in the file of a study."""

    file: Path
    content: P.Model | P.Task


OwnDefinitions = dict[tuple[Section, str], Own]


def own_definitions(data: Mapping, path: Path) -> OwnDefinitions:
    """The definitions in a study's file: what its `models:` and `tasks:` map names to.

    A name that is mapped to nothing is one of params.yaml.

    Args:
        data: the content of the file, which is checked as a `Study` already.

    Raises:
        UserError: a definition is wrong, or a name has two.
    """
    given: dict[str, dict[str, object]] = {section: {} for section in SECTIONS}
    for selection in (data, *(each or {} for each in data.get("also", ()))):
        for section in SECTIONS:
            named = selection.get(section)
            for name, content in named.items() if isinstance(named, dict) else ():
                if content is not None and name in given[section]:
                    raise UserError(f"{path}: {section}.{name}: defined twice; leave one out")
                if content is not None:
                    given[section][name] = content
    checked = validate(Definitions, given, path)
    return {
        (section, name): Own(path, content)
        for section in SECTIONS
        for name, content in getattr(checked, section).items()
    }


def joined(parts: Iterable[OwnDefinitions]) -> OwnDefinitions:
    """The definitions of several studies.

    Raises:
        ValueError: two of them define one name differently.
    """
    every: OwnDefinitions = {}
    for key, own in (item for part in parts for item in part.items()):
        other = every.setdefault(key, own)
        if other.content.model_dump() != own.content.model_dump():
            raise ValueError(
                f"{'.'.join(key)} is one thing in {other.file} and another in {own.file}; give "
                "one of them another name"
            )
    return every


@dataclass(frozen=True)
class Given:
    """params.yaml as it was read; its models and tasks are not checked."""

    path: Path
    content: dict
    outline: P.Params  # without models and tasks

    def define(self, used: Mapping[Section, Iterable[str]], own: OwnDefinitions) -> P.Params:
        """The parameters of a study: with the definitions that it uses, checked, and no others.

        Args:
            used: names of models and tasks; those that are defined nowhere are left out.
            own: the definitions in the study's file.

        Raises:
            UserError: a definition is wrong, or a name is defined in both files.
        """
        for (section, name), each in own.items():
            if name in self.content[section]:
                raise UserError(
                    f"{each.file}: {section}.{shortened(name)}: {self.path} defines this name too; "
                    "give one of them another name, or write no definition here to use that one"
                )
        chosen: dict[str, dict] = {
            section: {name: known[name] for name in used[section] if name in known}
            for section in SECTIONS
            for known in [self.content[section]]
        }
        checked = validate(Definitions, chosen, self.path)
        found: dict[str, dict] = {s: dict(getattr(checked, s)) for s in SECTIONS}
        for (section, name), each in own.items():
            found[section][name] = each.content
        params = self.outline.model_copy(update=found)
        params._files = {key: each.file for key, each in own.items()}
        params._unused = {s: [n for n in self.content[s] if n not in found[s]] for s in SECTIONS}
        return params


def read_params(path: Path) -> Given:
    """Reads params.yaml, and checks all but its models and tasks.

    Raises:
        UserError: one line that names the file, the key and the nearest valid name.
    """
    content = read_yaml(path)
    bare = {k: {} if k in SECTIONS and isinstance(v, dict) else v for k, v in content.items()}
    return Given(path, content, validate(P.Params, bare, path))
