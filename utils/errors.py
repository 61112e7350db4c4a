"""The one exception a command line turns into a message instead of a traceback."""


class InputError(Exception):
    """What the user gave cannot be used; the message names the thing and the remedy."""
