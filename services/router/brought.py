"""What an event brings to its conversation. Pure."""

import msgspec

from services.router.state import State
from shared.stream.fold import Claim, Outgoing, Owned, Release


class Brought(msgspec.Struct, frozen=True, gc=False):
    """The state after it, and what follows, if the `claims` are answered as is to be expected; not `complete`: nothing but them counts, ask them first."""

    state: State
    out: tuple[Outgoing, ...] = ()
    releases: tuple[Release, ...] = ()
    claims: tuple[Claim | Owned, ...] = ()
    complete: bool = True
