"""Every type of message, validated before the call: `check.py` is the way in, each type's models say what it must be. Pure."""

from shared.message_content.check import content_problems, is_read_mark, template_problems
from shared.message_content.problems import Problem

__all__ = ["Problem", "content_problems", "is_read_mark", "template_problems"]
