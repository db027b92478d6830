"""The exception for mistakes that the user can fix, and the form of its message: one line."""


class UserError(Exception):
    """A mistake in a setting, a file or an argument.

    The message is one line that names the file, key or row and says what to do. The command line
    prints it and exits with status 2.
    """

    def __init__(self, message: object) -> None:
        super().__init__(one_line(message))


def one_line(text: object, most: int | None = None) -> str:
    """Free text on a single line, cut after `most` characters."""
    return " ".join(str(text).split())[:most]


def shortened(value: object, most: int = 60) -> str:
    """A value as it stands in a message: on a single line, with an ellipsis where it is long."""
    text = one_line(value)
    return text if len(text) <= most else f"{text[:most]}..."
