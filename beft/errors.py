"""The exception for mistakes that the user can fix, and the form of its message: one line."""

from collections.abc import Iterable


class UserError(Exception):
    """A mistake in a setting, a file or an argument.

    The message is one line that names the file, key or row and says what to do. The command line
    prints it and exits with status 2.

    Attributes:
        details: lines to print below the message, such as settings to copy.
    """

    def __init__(self, message: object, details: Iterable[str] = ()) -> None:
        self.details = tuple(map(printable, details))
        super().__init__("\n".join([one_line(message), *self.details]))

    def within(self, what: str) -> "UserError":
        """The same error, whose message begins with where it occurred."""
        return UserError(f"{what}: {str(self).partition(chr(10))[0]}", self.details)


def printable(line: str) -> str:
    """A line of details as it is printed: its spaces stay, and it ends nowhere else."""
    return "".join(c if c.isprintable() else " " for c in line)


def one_line(text: object, most: int | None = None) -> str:
    """Free text on a single line, cut after `most` characters."""
    return " ".join(str(text).split())[:most]


def shortened(value: object, most: int = 60) -> str:
    """A value as it stands in a message: on a single line, with an ellipsis where it is long."""
    text = one_line(value)
    return text if len(text) <= most else f"{text[:most]}..."
