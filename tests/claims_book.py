"""The claims book in memory, for tests without Redis: written plainly, to the same contract (tests/contract/test_claims.py plays both)."""

from dataclasses import dataclass, field

from shared.stream.fold import Claim, Grant, Owned, Release


@dataclass
class Place:
    """A member of a scope: what it weighs, and until when each claim on it lasts."""

    weight: int
    claims: dict[str, int] = field(default_factory=dict)

    @property
    def until(self) -> int:
        return max(self.claims.values())


@dataclass
class Scope:
    """A limit: who is in it, and which claims wait until when."""

    places: dict[str, Place] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    used: int = 0
    soonest: int = 0

    def forget(self, now_ms: int) -> None:
        """Drop what is over; nothing is before `soonest`."""
        self.waiting = {id: until for id, until in self.waiting.items() if until > now_ms}
        if now_ms < self.soonest:
            return
        for place in self.places.values():
            place.claims = {id: until for id, until in place.claims.items() if until > now_ms}
        self.places = {member: place for member, place in self.places.items() if place.claims}
        self.used = sum(place.weight for place in self.places.values())
        self.soonest = min(
            (until for place in self.places.values() for until in place.claims.values()), default=2**60
        )


class Claims:
    """As `shared.stream.claims.Claims`, one claim at a time."""

    def __init__(self) -> None:
        self.scopes: dict[str, Scope] = {}
        self.owners: dict[str, tuple[str, int]] = {}

    def ask(self, claim: Claim | Owned, now_ms: int, *, force: bool = False) -> Grant:
        if isinstance(claim, Owned):
            return self._own(claim, now_ms)
        scope = self.scopes.setdefault(claim.scope, Scope())
        scope.forget(now_ms)
        place = scope.places.get(claim.member)
        if place is not None or force or scope.used + claim.weight <= claim.limit:
            if claim.take:
                if place is None:
                    place = scope.places[claim.member] = Place(claim.weight)
                    scope.used += claim.weight
                scope.soonest = min(scope.soonest, claim.expires_ms)
                place.claims[claim.id] = max(claim.expires_ms, place.claims.get(claim.id, 0))
                scope.waiting.pop(claim.id, None)
            return Grant(True, scope.used)
        if claim.waits_until_ms > now_ms:
            scope.waiting[claim.id] = claim.waits_until_ms
        queue = sorted(scope.waiting, key=lambda id: (scope.waiting[id], id))
        ahead = queue.index(claim.id) if claim.id in queue else len(queue)
        frees = sorted(place.until for place in scope.places.values())
        return Grant(False, scope.used, frees[min(ahead, len(frees) - 1)] if frees else 0)

    def _own(self, claim: Owned, now_ms: int) -> Grant:
        owner, since = self.owners.get(claim.name, ("", 0))
        for of, at_ms in ((owner, since), (claim.owner, claim.at_ms)):
            if at_ms // 1000 + claim.keep_ms // 1000 > now_ms // 1000:
                self.owners[claim.name] = (of, at_ms)
                return Grant(of == claim.owner, 1)
        return Grant(True, 1)

    def release(self, release: Release, now_ms: int) -> None:
        scope = self.scopes.setdefault(release.scope, Scope())
        scope.waiting.pop(release.id, None)
        place = scope.places.get(release.member)
        if place is None:
            return
        place.claims = {id: t for id, t in place.claims.items() if id != release.id and t > now_ms}
        if not place.claims:
            del scope.places[release.member]
            scope.used -= place.weight

    def members(self, scope: str) -> set[str]:
        return set(self.scopes[scope].places) if scope in self.scopes else set()
