"""The generator: a seed and a size in, the month's messages out, in the order of their delivery.

It runs through the month half hour by half hour and keeps only what is open: conversations, free tiers, entry points. The same seed gives the same month.
"""

from collections import defaultdict, deque
from collections.abc import Iterator
from datetime import date
from itertools import accumulate
from random import Random
from typing import NamedTuple

from tests.billing_month.rules import Card, Regime, Rules, instant, local_day
from tests.billing_month.truth import Charge, Message, Word, billed
from tests.billing_month.world import ACCOUNTS, COUNTRIES, MONTH, USERS, WEIGHTS, YEAR, Account, digits_before

HALF_HOUR_MS = 1_800_000
DAY_MS = 86_400_000
LATEST_MS = 5 * DAY_MS
"""A word comes at most so much later than the one before; all of them within the 16 days for which the router can know a message."""
_MARGIN_MS = 30 * HALF_HOUR_MS
"""Before and after the UTC month: beyond its ends in every account's zone."""
_CATEGORIES = (("marketing", 30), ("utility", 35), ("authentication", 15), ("service", 20))
_TAGS: tuple[dict[str, str], ...] = ({}, {"cost_center": "logistics"}, {"cost_center": "shop"}, {"cost_center": "shop", "campaign": "black"},
         {"cost_center": "security"}, {"team": "Störfälle | Süd"})  # fmt: skip
_META_NAME = {"authentication_international": "authentication-international"}
_FREE_TYPES = ("free_customer_service", "free_tier", "free_entry_point")


class Habits(NamedTuple):
    """How often Meta, or who else sends from the numbers, does something; shares of all messages."""

    unattributed: float = 0.012
    unpriced: float = 0.05
    """Never a word."""
    late: float = 0.05
    """The word comes by itself, up to five days later."""
    recategorised: float = 0.03
    freed: float = 0.02
    charged: float = 0.02
    corrected: float = 0.03
    """Later another word; a third of them twice."""
    without_rate: float = 0.004
    """The router had no rate when it was delivered; Meta's word is the first."""
    read: float = 0.6
    steps_told: float = 0.1
    entry_point: float = 0.01
    again: float = 0.35
    """To somebody who was written to a little before."""
    at_the_turn: float = 0.02
    """Within a second of a new month, regime or card in the account's own time."""


USUAL = Habits()
CLEAN = Habits(0, 0, 0, 0, 0, 0, 0, 0)
"""Nothing differs from what was predicted."""


class _Open(NamedTuple):
    id: str
    until_ms: int


class Month:
    """One random month.

    Args:
        rules: of the month's configuration (`config.write`).
        size: how many messages, about: those at the turns are drawn by chance.
        seed: of all chance.
        habits: of Meta.
    """

    def __init__(self, rules: Rules, size: int, seed: int, habits: Habits = USUAL) -> None:
        self.rules = rules
        self._size = size
        self._habits = habits
        self._random = Random(seed)
        self._countries = list(accumulate(WEIGHTS))
        self._categories = list(accumulate(weight for _, weight in _CATEGORIES))
        self._users = max(1, min(USERS, size // 60))
        self._conversations: dict[tuple[str, str, str], _Open] = {}
        self._entries: dict[tuple[str, str], _Open] = {}
        self._recent: defaultdict[str, deque[tuple[str, str]]] = defaultdict(lambda: deque(maxlen=50))
        self._others: dict[tuple[str, str], tuple[_Open, Word]] = {}
        self._free: dict[tuple[str, str], int] = {}
        self._count = 0

    def messages(self) -> Iterator[Message]:
        """All messages by time of delivery."""
        first = instant("UTC", date(YEAR, MONTH, 1)) - _MARGIN_MS
        slots = (instant("UTC", date(YEAR, MONTH + 1, 1)) + _MARGIN_MS - first) // HALF_HOUR_MS
        turns = _turns()
        at_turns = int(self._size * self._habits.at_the_turn)
        elsewhere = self._size - at_turns
        for slot in range(slots):
            begins = first + slot * HALF_HOUR_MS
            count = elsewhere * (slot + 1) // slots - elsewhere * slot // slots
            places = [
                (begins + int(self._random.random() * HALF_HOUR_MS), self._random.choice(ACCOUNTS))
                for _ in range(count)
            ]
            for account, turn in turns:
                if begins <= turn < begins + HALF_HOUR_MS:
                    places += [
                        (turn + self._random.choice((-1000, -1, 0, 1, 999)), account)
                        for _ in range(at_turns // len(turns))
                    ]
            if slot % 48 == 0:
                self._forget(begins)
            for at_ms, account in sorted(places, key=lambda place: place[0]):
                yield self._message(account, at_ms)

    def _forget(self, now_ms: int) -> None:
        self._conversations = {
            key: open for key, open in self._conversations.items() if open.until_ms > now_ms
        }
        self._others = {key: found for key, found in self._others.items() if found[0].until_ms > now_ms}

    def _message(self, account: Account, at_ms: int) -> Message:
        random, habits = self._random, self._habits
        self._count += 1
        number = account.numbers[random.randrange(4)]
        country, user = self._to(number)
        category = random.choices(_CATEGORIES, cum_weights=self._categories)[0][0]
        day = local_day(account.zone, at_ms)
        regime, card = self.rules.in_force(account.pin, day)
        month, on = day.isoformat()[:7], day.isoformat()
        ours = random.random() >= habits.unattributed
        message = Message(
            account=account,
            number=number,
            user=user,
            country=country,
            wamid=f"wamid.{self._count:08}",
            request_id=f"R{self._count:08}" if ours else None,
            tags=random.choice(_TAGS) if ours else {},
            delivered_ms=at_ms,
            category=category,
            predicted=None,
        )
        if ours:
            charge = self._foreseen(message, regime, card, month, on)
            if charge is not None and random.random() >= habits.without_rate:
                message.predicted = charge
            message.steps_told = random.random() < habits.steps_told
            if random.random() < habits.read:
                message.read_ms = at_ms + int(random.expovariate(1 / 3_600_000)) + 1
            message.words = self._words(message, regime)
        else:
            self._of_others(message, regime)
        if not message.repeats:
            message.billed = message.counted = billed(message, self.rules, regime, card, month, on)
        return message

    def _to(self, number: str) -> tuple[str, str]:
        """Country and user: often one who was written to a little before."""
        recent = self._recent[number]
        if recent and self._random.random() < self._habits.again:
            return self._random.choice(recent)
        country = self._random.choices(COUNTRIES, cum_weights=self._countries)[0]
        user = f"{digits_before(country)}{self._random.randrange(self._users):05}"
        recent.append((country, user))
        return country, user

    # --- what the router predicts

    def _foreseen(self, message: Message, regime: Regime, card: Card, month: str, day: str) -> Charge | None:
        opened, entry, message.conversation_id = self._converse(message)
        column, at_ms = message.category, message.delivered_ms
        market = self.rules.market(digits_before(message.country), card.id)
        kind = self._kind(message, regime, month, opened, entry)
        micros, tier = 0, None
        if kind == "regular":
            international = (market, "authentication_international") in card.micros
            if (
                column == "authentication"
                and international
                and message.account.owes_international(message.country, at_ms)
            ):
                column = "authentication_international"
            rate = self.rules.rate(regime, card, message.account, market, column, at_ms, month)
            if rate is None:
                return None
            micros, tier = rate
        units = int(regime.unit == "message" or opened)
        return Charge(
            month, day, regime.name, regime.unit, card.id, column, market, kind, micros, units, int(opened), tier
        )  # fmt: skip

    def _converse(self, message: Message) -> tuple[bool, bool, str]:
        """Whether it opens a conversation, whether it is free by an entry point, and the conversation's id."""
        key, at_ms = (message.number, message.user), message.delivered_ms
        entry = self._entries.get(key)
        if entry is not None and at_ms < entry.until_ms:
            return False, True, entry.id
        if self._random.random() < self._habits.entry_point:
            self._entries[key] = _Open(f"{message.request_id}#1", at_ms + 3 * DAY_MS)
            return True, True, f"{message.request_id}#1"
        names = (
            ("marketing", "utility", "authentication", "service")
            if message.category == "service"
            else (message.category,)
        )
        for name in names:
            found = self._conversations.get((*key, name))
            if found is not None and at_ms < found.until_ms:
                return False, False, found.id
        self._conversations[(*key, message.category)] = _Open(f"{message.request_id}#1", at_ms + DAY_MS)
        return True, False, f"{message.request_id}#1"

    def _kind(self, message: Message, regime: Regime, month: str, opened: bool, entry: bool) -> str:
        if entry:
            return "free_entry_point"
        if regime.unit == "conversation" and not opened:
            return "reused"
        if message.category == "service" and regime.service == "free":
            return "free_customer_service"
        if message.category == "service" and regime.free_scope is not None:
            scope = (message.account.waba_id if regime.free_scope == "waba" else message.number, month)
            used = self._free[scope] = self._free.get(scope, 0) + 1
            if used <= regime.free_units:
                return "free_tier"
        if message.category == "utility" and regime.utility_in_window_free and self._random.random() < 0.3:
            return "free_customer_service"
        return "regular"

    # --- what others send

    def _of_others(self, message: Message, regime: Regime) -> None:
        """Others' messages under conversation-based pricing: the first of a conversation carries its price, the further ones repeat it."""
        model = "CBP" if regime.unit == "conversation" else "PMP"
        word = Word(
            message.delivered_ms,
            message.category,
            self._random.choice(("regular", "regular", *_FREE_TYPES)),
            model,
        )
        if model == "PMP":
            message.words = self._corrected([word])
            return
        key = (message.number, message.user)
        found = self._others.get(key)
        if found is None or message.delivered_ms >= found[0].until_ms:
            found = self._others[key] = (_Open(f"meta-{message.wamid}", message.delivered_ms + DAY_MS), word)
        else:
            message.repeats = True
        message.conversation_id = found[0].id
        message.words = (found[1]._replace(at_ms=message.delivered_ms),)

    # --- what Meta says

    def _words(self, message: Message, regime: Regime) -> tuple[Word, ...]:
        random, habits = self._random, self._habits
        model = "CBP" if regime.unit == "conversation" else "PMP"
        charge, at_ms = message.predicted, message.delivered_ms
        if charge is None:
            return self._corrected([Word(at_ms, message.category, "regular", model)])
        lot = random.random()
        if lot < habits.unpriced:
            return ()
        type_ = "regular" if charge.type == "reused" else charge.type
        name = _META_NAME.get(charge.column, charge.column)
        if type_ == "free_entry_point" and model == "CBP":
            name = "referral_conversion"
        same = Word(at_ms, name, type_, model, lot < 0.8)
        if lot < habits.unpriced + habits.late:
            same = same._replace(at_ms=at_ms + 1 + int(random.expovariate(1 / DAY_MS) % LATEST_MS))
        lot = random.random()
        if lot < habits.recategorised:
            return (self._other(same),)
        if lot < habits.recategorised + habits.freed:
            return (same._replace(type=random.choice(_FREE_TYPES)),)
        if lot < habits.recategorised + habits.freed + habits.charged:
            return (same._replace(type="regular"),)
        return self._corrected([same])

    def _corrected(self, words: list[Word]) -> tuple[Word, ...]:
        if self._random.random() < self._habits.corrected:
            words.append(self._later(words[-1]))
            if self._random.random() < 0.33:
                words.append(self._later(words[-1]))
        return tuple(words)

    def _later(self, word: Word) -> Word:
        other = self._other(word) if self._random.random() < 0.6 else word._replace(
            type="regular" if word.free else self._random.choice(_FREE_TYPES)
        )  # fmt: skip
        return other._replace(at_ms=word.at_ms + 1 + int(self._random.expovariate(1 / DAY_MS) % LATEST_MS))

    def _other(self, word: Word) -> Word:
        others = (
            "marketing",
            "utility",
            "service",
            "authentication",
            "marketing_lite",
            "authentication-international",
        )
        return word._replace(category=self._random.choice([name for name in others if name != word.category]))


def _turns() -> list[tuple[Account, int]]:
    """Where months, regimes and cards begin, by each account's clock."""
    days = (date(YEAR, MONTH, 1), date(YEAR, MONTH, 16), date(YEAR, MONTH, 10), date(YEAR, MONTH + 1, 1))
    return [(account, instant(account.zone, day)) for account in ACCOUNTS for day in days]
