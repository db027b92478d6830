"""The one exception that means: the user can fix this, and the message says how."""


class UserError(Exception):
    """A mistake in a setting, a file or an argument.

    The message is one line that names the file, key or row and says what to do. The command line
    prints it and exits with status 2.
    """
