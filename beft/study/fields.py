"""The kinds of values that settings have, each with what makes one wrong."""

import difflib
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

from beft.errors import UserError

Item = TypeVar("Item")
Checked = TypeVar("Checked", bound=BaseModel)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def nearest(name: object, valid: Iterable[object]) -> str:
    """A hint for a misspelt name: the closest valid one, else the list of valid ones."""
    names = sorted(str(v) for v in valid)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"valid: {', '.join(names)}" if names else "none are defined"


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(f"'{value}' is not a name (letters, digits, '.', '_' and '-' only)")
    return value


def _hub_id(value: str) -> str:
    parts = value.split("/")
    if len(parts) > 2 or not all(NAME.fullmatch(p) for p in parts):
        raise ValueError(f"'{value}' is not a hub id (owner/name)")
    return value


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("expected a number, not true or false")
    return value


def _distinct(values: list[Item]) -> list[Item]:
    seen: set[Item] = set()
    for value in values:
        if value in seen:
            raise ValueError(f"'{value}' is listed twice")
        seen.add(value)
    return values


Name = Annotated[str, AfterValidator(_name)]
HubId = Annotated[str, AfterValidator(_hub_id)]
Count = Annotated[int, Field(gt=0, strict=True)]
Size = Count | Literal["all"]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_not_bool)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_not_bool)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False), BeforeValidator(_not_bool)]
Seed = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Regime = Literal["low", "medium", "high", "all"]
Column = Annotated[str, Field(min_length=1, max_length=200)]
Precision = Literal["float32", "bfloat16", "auto"]
StudyName = Annotated[str, Field(min_length=1)]  # a name in studies/, or a path


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
                    raise ValueError(f"unknown key '{key}'; {nearest(key, cls.model_fields)}")
        return data


def restated(cls: type[BaseModel], name: str, default: Any = ...) -> Any:
    """A field of a parent class with the same help and another default; without, obligatory.

    Any, as `pydantic.Field` returns: it stands for a value of the field's type.
    """
    return Field(default, description=cls.model_fields[name].description)


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
        where = ".".join(str(p) for p in first["loc"] if p not in ("[key]", "constrained-int"))
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "literal_error":
            valid = re.findall(r"'([^']*)'", first["ctx"]["expected"])
            message = f"{message}; {nearest(first['input'], valid)}"
        got = "" if isinstance(first["input"], dict | list) else f" (got {first['input']!r})"
        raise UserError(f"{path}: {where + ': ' if where else ''}{message}{got}") from None
