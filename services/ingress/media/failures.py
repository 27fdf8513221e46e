"""Why a file could not be fetched, and whether another try may help. Pure."""

from typing import Final, Literal, get_args

Reason = Literal[
    "gone",
    "refused",
    "no_token",
    "forbidden_link",
    "too_large",
    "checksum",
    "unreachable",
    "link_stale",
    "store",
    "timeout",
    "expired",
]
"""A closed set: public in `MediaFile.reason`, and a metric's label.

gone: Meta has no such file (any more). refused: Meta's other refusals. no_token: none for the number. forbidden_link: it leads elsewhere than to Meta.
too_large: for the limit. checksum: not what Meta announced. unreachable: no answer, or one that broke off. link_stale: each new link was stale. store: the
object store did not serve. timeout: it took too long. expired: tried for as long as Meta keeps it.
"""
REASONS: Final[tuple[Reason, ...]] = get_args(Reason)
_FINAL: Final[frozenset[Reason]] = frozenset({"gone", "forbidden_link", "too_large", "checksum", "expired"})


class NotFetched(Exception):
    """The file was not fetched; `text` says more, and nothing secret."""

    def __init__(self, reason: Reason, text: str = "") -> None:
        super().__init__(f"{reason}: {text}" if text else reason)
        self.reason: Reason = reason
        self.text = text

    @property
    def again(self) -> bool:
        """Whether it may come out otherwise later."""
        return self.reason not in _FINAL


class LinkStale(Exception):
    """Meta knows the link no more; it gives another one."""
