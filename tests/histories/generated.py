"""Generated histories: how two accounts of a portfolio are set up, and what happens to them, move by move; `game.py` plays them."""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.histories.naive import MINUTE
from tests.histories.naive_talk import DAY, HOUR

SECOND = 1000
NUMBERS = {"N1": "W1", "N2": "W1", "N3": "W2"}
TEMPLATES = {"promo": "marketing", "order": "utility", "code": "authentication"}
TURNS = ["2024-11-01", "2025-07-01", "2026-10-01", "2026-10-01", "2026-11-01", "2026-12-01"]
"""First days of regimes and of months, in the time zone of the first account."""
ZONES = ["UTC", "Asia/Kolkata", "America/Sao_Paulo", "Pacific/Apia", "Asia/Kathmandu"]
REGIMES = ["guide", "2024-11-01", "2025-07-01", "2026-10-01"]
USERS = [
    "4915112345678", "919876543210", "5511987654321", "6281234567890", "77011234567", "12125552368",
    "14165552368", "17875552368", "870773123456", "BR.13491208655302741918", "US.13491208655302741918",
]  # fmt: skip
PAUSES = [SECOND, MINUTE, 10 * MINUTE, HOUR, 4 * HOUR, 12 * HOUR, DAY - SECOND, DAY, 3 * DAY]
LATE = [0, 0, 0, SECOND, 2 * HOUR, 20 * HOUR]
FATES = [
    "", "accepted", "accepted sent delivered read", "accepted sent delivered", "sent accepted delivered", "delivered",
    "accepted read", "accepted sent failed", "failed", "refused", "uncertain", "uncertain delivered",
    "delivered failed read", "accepted delivered sent", *["uncertain"] * 5, "cancelled",
    *["syncing"] * 6, *["accepted capped"] * 4, "capped",
]  # fmt: skip
FORGOTTEN = 6 * DAY
"""How long after its command a message is heard of: Meta repeats itself for a week, and a day is for our own delays."""


@dataclass(frozen=True)
class Setting:
    """How long before which turn a history begins, and how the two accounts of the portfolio are set up."""

    turn: str
    before: int
    zones: tuple[str, str]
    pins: tuple[str, str]
    payments: tuple[str, str]
    users: tuple[str, ...]
    limit: int
    reserve: int
    free_units: int
    budgets: tuple[tuple[str | None, int], ...]
    currency: str
    clicked: bool


settings_of_two_accounts = st.builds(
    Setting,
    turn=st.sampled_from(TURNS),
    before=st.sampled_from([MINUTE, HOUR, 3 * HOUR, 9 * HOUR, 20 * HOUR]),
    zones=st.tuples(st.sampled_from(ZONES), st.sampled_from(ZONES)),
    pins=st.tuples(*[st.sampled_from(["calendar", "calendar", *REGIMES])] * 2),
    payments=st.tuples(*[st.sampled_from([*["valid"] * 6, "missing"])] * 2),
    users=st.lists(st.sampled_from(USERS), min_size=3, max_size=3, unique=True).map(tuple),
    limit=st.sampled_from([1, 2, 2, 3, 1000, 1000, -1]),
    reserve=st.sampled_from([0, 0, 50]),
    free_units=st.sampled_from([1, 2, 1000]),
    budgets=st.sampled_from([(), (), ((None, 60_000),), (("marketing", 30_000), (None, 200_000))]),
    currency=st.sampled_from([*["USD"] * 7, "INR"]),
    clicked=st.sampled_from([False] * 4 + [True]),
)
_user, _number = st.sampled_from([0, 0, 0, 1, 1, 2]), st.sampled_from(["N1", "N1", "N1", "N1", "N2", "N3"])
_told = st.sampled_from([None, None, None, (0, 5), (0, 24), (1, 24), (1, 40), (2, 30)])
_statuses = [
    "accepted", "sent", "delivered", "read", "failed", "refused", "uncertain", "uncertain", "opted out", "cancelled",
    "syncing", "syncing", "capped",
]  # fmt: skip


def _sends() -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(
        st.just("send"), _user, _number, st.integers(0, 60),
        st.sampled_from([None, None, *TEMPLATES]), st.sampled_from([None, None, "order"]),
        st.sampled_from([None, None, 30 * MINUTE, 3 * HOUR, 9 * HOUR, 26 * HOUR, 26 * HOUR]),
        st.sampled_from([None] * 5 + [2 * HOUR]), st.sampled_from([False] * 6 + [True]),
        st.sampled_from([None] * 5 + [10_000]), st.sampled_from(FATES),
        st.sampled_from([SECOND, MINUTE, HOUR, 3 * HOUR, 10 * HOUR, 25 * HOUR]), _told,
    )  # fmt: skip


def _writes() -> st.SearchStrategy[tuple[Any, ...]]:
    clicked = st.sampled_from([False] * 5 + [True])
    return st.tuples(st.just("write"), _user, _number, st.integers(0, 9), clicked, st.sampled_from(LATE))


moves = st.one_of(
    _sends(), _sends(), _sends(), _sends(), _sends(), _writes(), _writes(),
    st.tuples(st.just("pause"), st.sampled_from(PAUSES)),
    st.tuples(st.just("pause"), st.sampled_from(PAUSES)),
    st.tuples(st.just("hear"), st.integers(0, 30), st.sampled_from(_statuses), st.sampled_from(LATE), _told),
    st.tuples(st.just("mark"), _user, _number, st.sampled_from(["accepted", "refused", "uncertain", "silence"])),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("webhooks"), st.booleans()),
    st.tuples(st.just("settle"), st.integers(0, 30), st.sampled_from(["sent", "not_sent", "resend"])),
    st.tuples(st.just("again"), st.integers(0, 9)),
    st.tuples(st.just("prefer"), _user, _number, st.booleans(), st.sampled_from(LATE)),
    st.tuples(st.just("verify"), _user, _number),
    st.tuples(st.just("know"), st.sampled_from(["W1", "W2"]), st.integers(0, 15), st.sampled_from(LATE),
              st.sampled_from([*TEMPLATES])),
)  # fmt: skip
scripts = st.lists(moves, min_size=12, max_size=60)
