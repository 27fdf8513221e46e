"""The one error of the local stack: what could not be started, and what the reader can do about it."""


class StackError(RuntimeError):
    """A part of the local stack is missing, did not start, or is not ours to control."""
