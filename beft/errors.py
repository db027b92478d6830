"""The exception for mistakes that the user can fix, and the form of its message: one line."""


class UserError(Exception):
    """A mistake in a setting, a file or an argument.

    The message is one line that names the file, key or row and says what to do. The command line
    prints it and exits with status 2.
    """


def one_line(text: object, most: int | None = None) -> str:
    """Free text on a single line, cut after `most` characters."""
    return " ".join(str(text).split())[:most]
