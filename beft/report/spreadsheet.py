"""Texts that spreadsheets would evaluate, written with an apostrophe, and read without it again."""

SIGNS = ("=", "+", "-", "@", "\t", "\r")  # what a formula can begin with
FIRST = (*SIGNS, "'")


def guarded(value: object) -> object:
    """A cell of a csv file: a text that looks like a formula gets an apostrophe; numbers do not."""
    return f"'{value}" if isinstance(value, str) and _like_a_formula(value) else value


def unguarded(value: object) -> object:
    """The value that `guarded` was given."""
    written = isinstance(value, str) and value.startswith("'") and _like_a_formula(value)
    return value[1:] if isinstance(value, str) and written else value


def _like_a_formula(text: str) -> bool:
    """Also with apostrophes before it, so that each text is written differently."""
    if not text.startswith(FIRST) or not text.lstrip("'").startswith(SIGNS):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False
