"""The kinds of values that settings have, each with what makes one wrong."""

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from beft.errors import UserError, one_line, shortened

Item = TypeVar("Item")
Checked = TypeVar("Checked", bound=BaseModel)

FOR_SHELLS = re.compile(r"[^\w ./@+=:,-]")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def nearest(name: object, valid: Iterable[object]) -> str:
    """A hint for a misspelt name: the closest valid one, else the list of valid ones."""
    names = sorted(str(v) for v in valid)
    close = difflib.get_close_matches(str(name)[:100], names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"valid: {', '.join(names)}" if names else "none are defined"


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(
            f"'{shortened(value)}' is not a name (at most 100 letters, digits, '.', '_' and '-')"
        )
    return value


def _hub_id(value: str) -> str:
    parts = value.split("/")
    if len(parts) > 2 or not all(NAME.fullmatch(p) for p in parts):
        raise ValueError(f"'{shortened(value)}' is not a hub id (owner/name)")
    return value


def _path(value: str) -> str:
    if "\0" in value or len(os.fsencode(value)) > 4000:
        raise ValueError("a path has at most 4000 bytes, none of them zero")
    if any(len(os.fsencode(part)) > 255 for part in value.split("/")):
        raise ValueError("a name in a path has at most 255 bytes")
    return value


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number, not true or false")
    return value


def _distinct(values: list[Item]) -> list[Item]:
    seen: set[Item] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"'{shortened(value)}' is listed twice")
        seen.add(value)
    return values


Name = Annotated[str, AfterValidator(_name)]
HubId = Annotated[str, AfterValidator(_hub_id)]
# Upper bounds are far above every sensible value: what follows can then be computed with.
Count = Annotated[int, Field(gt=0, lt=2**31, strict=True)]
Size = Count | Literal["all"]
Positive = Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False), BeforeValidator(_not_bool)]
NotNegative = Annotated[
    float, Field(ge=0, le=1e30, allow_inf_nan=False), BeforeValidator(_not_bool)
]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False), BeforeValidator(_not_bool)]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Regime = Literal["low", "medium", "high", "all"]
Column = Annotated[str, Field(min_length=1, max_length=200)]
Precision = Literal["float32", "bfloat16", "auto"]
LocalPath = Annotated[str, Field(min_length=1), AfterValidator(_path)]
StudyName = LocalPath  # a name in studies/, or a path


Distinct = Annotated[list[Item], AfterValidator(_distinct)]
Several = Annotated[list[Item], Field(min_length=1), AfterValidator(_distinct)]
TwoOrMore = Annotated[list[Item], Field(min_length=2), AfterValidator(_distinct)]

REGIMES: tuple[Regime, ...] = get_args(Regime)


class Strict(BaseModel):
    """A mapping whose keys are all known; a misspelt key is an error that names the nearest."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: object) -> object:
        if data is None:
            return {}
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    hint = nearest(key, cls.model_fields)
                    raise ValueError(f"unknown key '{shortened(key)}'; {hint}")
        return data


def restated(cls: type[BaseModel], name: str, default: Any = ...) -> Any:
    """A field of a parent class with the same help and another default; without, obligatory.

    Any, as `pydantic.Field` returns: it stands for a value of the field's type.
    """
    return Field(default, description=cls.model_fields[name].description)


def check_for_shells(what: str, text: str, blanks: bool = True) -> None:
    """Makes sure that no shell takes a part of a path for a command.

    Schedulers pass the paths of a workflow to shells, some of them without quotes.

    Args:
        what: the path's meaning, for the error message.
        blanks: whether the path stands in quotes, so that blanks are letters.

    Raises:
        UserError: the path holds anything but letters, digits, blanks and harmless signs.
    """
    if sign := FOR_SHELLS.search(text if blanks else text.replace(" ", ";")):
        raise UserError(
            f"{what} '{shortened(text)}': {ascii(sign.group())} may mean something to the shells "
            "that run jobs; rename it with letters, digits, blanks and ._-+=@:,/ only"
        )


def _reading(given: float) -> str:
    """What YAML reads as a boolean; nothing to add about numbers."""
    if not isinstance(given, bool):
        return ""
    return f", as YAML reads {'yes, on and true' if given else 'no, off and false'} as {given}"


def validate(cls: type[Checked], data: Mapping[str, object], path: Path) -> Checked:
    """Checks the content of a YAML file, and returns it as a typed model.

    Raises:
        UserError: one line that names the file, the key and, for a misspelt value, the nearest
            valid one.
    """
    try:
        return cls.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        given = first["input"]
        parts = [shortened(p) for p in first["loc"] if p not in ("[key]", "constrained-int")]
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "literal_error":
            valid = re.findall(r"'([^']*)'", first["ctx"]["expected"])
            message = f"{message}; {nearest(given, valid)}"
        if first["type"] == "string_type" and isinstance(given, bool | int | float):
            message = f"{message}: write it in quotes{_reading(given)}"
        got = "" if isinstance(given, dict | list) else f" (got {shortened(repr(given))})"
        where = f"{'.'.join(parts)}: " if parts else ""
        raise UserError(f"{path}: {where}{one_line(message, 300)}{got}") from None
