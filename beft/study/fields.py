"""The kinds of values that settings have, each with what makes one wrong."""

import difflib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def nearest(name: str, valid: Iterable[str]) -> str:
    """A hint for a misspelt name: the closest valid one, else the list of valid ones."""
    valid = sorted(str(v) for v in valid)
    close = difflib.get_close_matches(str(name), valid, n=1, cutoff=0.5)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"valid: {', '.join(valid)}" if valid else "none are defined"


def _name(value: str) -> str:
    if not NAME.fullmatch(value):
        raise ValueError(f"'{value}' is not a name (letters, digits, '.', '_' and '-' only)")
    return value


def _hub_id(value: str) -> str:
    parts = value.split("/")
    if len(parts) > 2 or not all(NAME.fullmatch(p) for p in parts):
        raise ValueError(f"'{value}' is not a hub id (owner/name)")
    return value


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("expected a number, not true or false")
    return value


def distinct(values: list) -> list:
    seen = set()
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


def list_of(item: Any, least: int = 1) -> Any:
    return Annotated[list[item], Field(min_length=least), AfterValidator(distinct)]


class Strict(BaseModel):
    """A mapping whose keys are all known; a misspelt key is an error that names the nearest."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if data is None:
            return {}
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(f"unknown key '{key}'; {nearest(key, cls.model_fields)}")
        return data
