"""One number's talk with one user, as the naive model sees it: what the user wrote, what was sent, what that opened. Times are epoch milliseconds."""

from dataclasses import dataclass, field

HOUR = 3_600_000
DAY = 24 * HOUR


@dataclass
class Told:
    """What Meta says of a conversation in a status."""

    id: str
    until: int | None = None


@dataclass
class Opened:
    """A conversation of a category; `named` once Meta gave it an id."""

    category: str
    since: int
    until: int
    named: str | None = None
    pending: str = ""


@dataclass
class Message:
    """A message on its way, as commanded at `at`, in the pending conversation `pending`. `steps` is what the business was told of its request since the decision.

    `taken`: Meta has it; `doubtful`: nobody knows; `back`: it is not to be sent again; `twice`: its request was sent twice, and may have gone out either time.
    """

    request: str
    category: str
    at: int
    regime: str
    in_window: bool
    answers_click: bool
    deadline: int | None
    pending: str
    steps: list[str] = field(default_factory=list)
    over: bool = False
    given_up: bool = False
    delivered: bool = False
    taken: bool = False
    failed: bool = False
    sent: bool = False
    doubtful: bool = False
    back: bool = False
    twice: bool = False
    meta: Told | None = None
    code: int | None = None

    def flying(self) -> bool:
        return not (self.over or self.given_up or self.delivered)

    def lends(self, now: int) -> bool:
        """Whether its pending conversation is shared by what is sent after it."""
        return self.flying() and now < self.at + DAY


@dataclass
class Fall:
    """Where a delivery falls: it opens something or not, in a free entry point or not; and the pending conversation it shares or makes."""

    opened: bool
    entry: bool
    pending: str | None = None


@dataclass
class Talk:
    """All of it. `clicked` is the last unanswered coming by an ad."""

    window: int = 0
    clicked: int | None = None
    entry: Opened | None = None
    opened: list[Opened] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    wrote: list[str] = field(default_factory=list)
    verified: bool = False
    preferences: list[tuple[int, bool]] = field(default_factory=list)

    def opted_out(self) -> bool:
        """The word of the latest time; of two of one time the later heard."""
        latest = (0, False)
        for word in self.preferences:
            if word[0] >= latest[0]:
                latest = word
        return latest[1]

    def write(self, wamid: str, at: int, *, clicked: bool) -> bool:
        """Whether this is new."""
        if wamid in self.wrote:
            return False
        self.wrote.append(wamid)
        self.window = max(self.window, at + DAY)
        if clicked:
            self.clicked = max(self.clicked or 0, at)
        return True

    def answers_click(self, now: int) -> bool:
        return self.clicked is not None and now < self.clicked + DAY and not self._in_entry(now)

    def foresee(self, category: str, now: int) -> Fall:
        """Where a message would fall if it were delivered soon."""
        if self._in_entry(now):
            return Fall(False, True)
        flying = [message for message in self.messages if message.lends(now)]
        if self.answers_click(now):
            lent = [message.pending for message in flying if message.answers_click]
            return Fall(not lent, True, lent[0] if lent else None)
        live = {o.category for o in self.opened if now < o.until}
        if category in live or (category == "service" and live):
            return Fall(False, False)
        for message in flying:
            if category in (message.category, "service"):
                return Fall(False, message.answers_click, message.pending)
        return Fall(True, False)

    def open_for(self, category: str, now: int) -> Opened | None:
        """The conversation not yet over that a message of a category would fall into."""
        live = [o for o in self.opened if now < o.until]
        own = [o for o in live if o.category == category]
        others = sorted(live, key=lambda o: o.since, reverse=True) if category == "service" else []
        return next(iter(own + others), None)

    def deliver(self, message: Message, at: int, told: Told | None) -> Fall:
        """Where a message delivered at `at` by Meta's clock falls; whatever came before, in whatever order."""
        entry = self.entry
        if entry and at < entry.until and (entry.since <= at or message.answers_click):
            self._join(entry, at, 3 * DAY, told)
            return Fall(False, True)
        if message.answers_click and self.clicked is not None:
            for other in self.opened:
                other.until = min(other.until, at)
            self.clicked = None
            self.entry = self._begin(message, "entry", at, 3 * DAY, told)
            return Fall(True, True)
        found = self._of(message.category, at, told)
        if found is not None and (told is None or found.named in (None, told.id)):
            if found.category == message.category:
                self._join(found, at, DAY, told)
            return Fall(False, False)
        opened = self._begin(message, message.category, at, DAY, told)
        if message.pending in [other.pending for other in self.opened]:
            opened.pending = f"{message.request}: a conversation of its own"
        self.opened.append(opened)
        return Fall(True, False, opened.pending)

    def learn(self, told: Told) -> None:
        """Meta's own end of a conversation that Meta has named."""
        if told.until is not None:
            for known in [*self.opened, *([self.entry] if self.entry else [])]:
                if known.named == told.id:
                    known.until = told.until

    def _in_entry(self, now: int) -> bool:
        return self.entry is not None and now < self.entry.until

    def _of(self, category: str, at: int, told: Told | None) -> Opened | None:
        if told is not None:
            for known in self.opened:
                if known.named == told.id:
                    return known
        then = [o for o in self.opened if o.since <= at < o.until]
        own = [o for o in then if o.category == category]
        own += [o for o in self.opened if o.category == category and at < o.since < at + DAY]
        if own:
            return own[0]
        if category == "service" and then:
            return max(then, key=lambda o: o.since)
        return None

    @staticmethod
    def _join(known: Opened, at: int, lasts: int, told: Told | None) -> None:
        if at < known.since:
            known.since = at
            if known.named is None:
                known.until = min(known.until, at + lasts)
        if told is not None and known.named is None:
            known.named = told.id
            known.until = told.until or known.until

    @staticmethod
    def _begin(message: Message, category: str, at: int, lasts: int, told: Told | None) -> Opened:
        name = told.id if told else message.meta.id if message.meta else None
        until = told.until if told else None
        if name is not None and until is None and message.meta is not None and message.meta.id == name:
            until = message.meta.until if (message.meta.until or 0) > at else None
        return Opened(category, at, until or at + lasts, name, message.pending)
