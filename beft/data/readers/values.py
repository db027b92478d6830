"""Turn values of Python libraries into those that JSON would hold."""

import datetime
import decimal
from typing import Any

import numpy as np

from beft.tasks.labels import Number


def plain(value: Any) -> Any:
    """A value as JSON would hold it; NaN is a missing value."""
    match value:
        case None | bool() | Number():
            return value
        case str():
            return str(value)
        case np.bool_():
            return bool(value)
        case float() | np.floating():
            # numpy writes 0.1 where the same float32 as a double is 0.10000000149011612
            return Number(value) if value == value else None
        case int() | np.integer() | decimal.Decimal():
            return Number(value)
        case list() | tuple():
            return [plain(each) for each in value]
        case np.ndarray():
            return [plain(each) for each in np.atleast_1d(value)]
        case dict():
            return {key: plain(each) for key, each in value.items()}
        case datetime.datetime():
            return str(value).removesuffix(" 00:00:00")
        case datetime.date() | datetime.time() | datetime.timedelta():
            return str(value)
    return value
