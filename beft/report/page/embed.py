"""Frames inside the page: JSON that a script reads, small, its numbers those of the csv files."""

import base64

import numpy as np
import pandas as pd

WIDTHS = ("u1", "<u2", "<u4")  # bytes of a code: little-endian, as browsers read them


def pack(table: pd.DataFrame, like: pd.DataFrame | None = None) -> dict:
    """A frame in columns: 10,000 runs with 16 epochs take 4 MB, where records would take 25.

    Args:
        like: a frame whose words serve for the columns that both have, so that digests are
            written once.

    Returns:
        `rows` and `columns`, each column in one of two forms:

        - `words`, its distinct values in order of first appearance (null: none), and `codes`, the
          place of each row's value among them: unsigned integers as `_integers` writes them.
          Without `codes` every row has the only word; with `times`, each code stands for so many
          rows in turn; `like: true` stands for the other's words;
        - `float64`: base64 of the numbers themselves.
    """
    columns = {
        str(name): _column(table[name])
        if like is None or name not in like
        else _like(table[name], like[name])
        for name in table
    }
    return {"rows": len(table), "columns": columns}


def unpack(packed: dict, like: pd.DataFrame | None = None) -> pd.DataFrame:
    """The frame that was packed, its columns without a type of their own (None: no value)."""
    columns = {}
    for name, column in packed["columns"].items():
        if "float64" in column:
            numbers = np.frombuffer(base64.b64decode(column["float64"]), "<f8")
            columns[name] = [None if np.isnan(number) else number for number in numbers.tolist()]
            continue
        if like is not None and column.get("like"):
            words = list(dict.fromkeys(like[name]))
        else:
            words = column["words"]
        codes = _read(column["codes"]) if "codes" in column else np.zeros(packed["rows"], int)
        if "times" in column:
            codes = np.repeat(codes, _read(column["times"]))
        columns[name] = [words[code] for code in codes]
    return pd.DataFrame(columns, dtype=object)


def _column(values: pd.Series) -> dict:
    codes, words = pd.factorize(values.astype(object), use_na_sentinel=False)
    floats = pd.api.types.is_float_dtype(values)
    if floats and (2 * len(words) > len(values) or np.isinf(values.astype(float)).any()):
        return {"float64": _base64(values.to_numpy("<f8", na_value=np.nan))}
    return {"words": [_plain(word) for word in words], **_codes(codes, len(words))}


def _like(values: pd.Series, other: pd.Series) -> dict:
    words = pd.Index(dict.fromkeys(other), dtype=object)
    codes = words.get_indexer(values.astype(object))
    if (codes < 0).any():
        return _column(values)
    return {"like": True, **_codes(codes, max(len(words), 2))}


def _codes(codes: np.ndarray, words: int) -> dict:
    if words < 2:
        return {}
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    if 4 * len(starts) > len(codes):
        return {"codes": _integers(codes)}
    times = np.diff(starts, append=len(codes))
    return {"codes": _integers(codes[starts]), "times": _integers(times)}


def _integers(numbers: np.ndarray) -> dict:
    """Base64 of integers from 0, each in as few bytes (1, 2 or 4) as the largest takes."""
    most = int(numbers.max(initial=0))
    place = 0 if most < 2**8 else 1 if most < 2**16 else 2
    return {"bytes": 2**place, "base64": _base64(numbers.astype(WIDTHS[place]))}


def _read(written: dict) -> np.ndarray:
    return np.frombuffer(base64.b64decode(written["base64"]), WIDTHS[written["bytes"] // 2])


def _base64(numbers: np.ndarray) -> str:
    return base64.b64encode(numbers.tobytes()).decode()


def _plain(word):
    if pd.isna(word):
        return None
    return word.item() if isinstance(word, np.generic) else word
