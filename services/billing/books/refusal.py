"""What the books refuse to do, and why; the text is for the operator."""


class Refusal(Exception):
    """Something is not possible, or not safe; nothing was changed."""
