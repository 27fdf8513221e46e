"""Calls in flight of one process, shared between accounts: none takes all while others wait. Pure."""

from collections import Counter
from dataclasses import dataclass, field

LENT = 0.75
"""Up to this part of the calls an account may have more than its equal share."""
HURRIED = 0.9
"""What is beyond this part is kept for what can't wait."""
URGENT = 1
"""Priorities up to this one can't wait: one-time passwords and answers."""


@dataclass(slots=True)
class Shares:
    """At most `most` calls at once, over all accounts."""

    most: int
    calls: int = 0
    _of: Counter[str] = field(default_factory=Counter)

    def room(self, account: str, priority: int) -> bool:
        """Whether the account may begin a call of this priority."""
        if self.calls >= self.most or (priority > URGENT and self.full):
            return False
        if self.calls < self.most * LENT:
            return True
        accounts = len(self._of) + (account not in self._of)
        return self._of[account] < max(1, self.most // accounts)

    @property
    def full(self) -> bool:
        """Whether nobody may begin a call that can wait."""
        return self.calls >= self.most * HURRIED

    def begin(self, account: str) -> None:
        """A call begins."""
        self.calls += 1
        self._of[account] += 1

    def end(self, account: str) -> None:
        """A call has ended."""
        self.calls -= 1
        self._of[account] -= 1
        if not self._of[account]:
            del self._of[account]
