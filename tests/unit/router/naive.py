"""A naive model of the router, written differently: one list of all that happened; each question walks the whole list again.

It knows the guide's rules only and shares no code with the router. Times are epoch milliseconds.
"""

from dataclasses import dataclass, field
from typing import Any

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
CATEGORY = {"promo": "marketing", "order_update": "utility", "login_code": "authentication", None: "service"}
STEPS = ["sent", "delivered", "read"]


@dataclass
class Request:
    """One request as it was answered the first time."""

    user: str
    id: str
    body: tuple[object, ...]
    at: int
    outcome: str
    reason: str
    category: str | None = None
    action: str | None = None
    price: str | None = None
    outside: bool = False
    answers_click: bool = False
    until: int = 0


@dataclass
class Message:
    """An allowed request as the walk sees it."""

    request: Request
    deadline: int
    steps: list[str] = field(default_factory=list)
    over: bool = False
    doubted: bool = False

    def flying(self) -> bool:
        return not self.over and not self.doubted and "delivered" not in self.steps


class Picture:
    """Everything as it stands after a walk over the list, up to a moment."""

    def __init__(self, happened: list[tuple[int, str, Any]], now: int) -> None:
        self.window: dict[str, int] = {}
        self.click: dict[str, int | None] = {}
        self.entry: dict[str, int] = {}
        self.open: dict[tuple[str, str], int] = {}
        self.counted: list[tuple[str, str]] = []
        self.messages: dict[tuple[str, str], Message] = {}
        self.places: dict[str, dict[str, int]] = {}
        self.expiry: dict[str, int] = {}
        seen: set[str] = set()
        for when, kind, what in happened:
            self._silence(when)
            if kind == "received":
                user, wamid, clicked = what
                if wamid in seen:
                    continue
                seen.add(wamid)
                self.window[user] = max(self.window.get(user, 0), when + DAY)
                if clicked:
                    self.click[user] = when
            elif kind == "request":
                self._request(what)
            else:
                self._heard(when, kind, what)
        self._silence(now)
        self.now = now
        self.expiry = {user: at for user, at in self.expiry.items() if at > now}

    def _silence(self, when: int) -> None:
        for message in sorted(self.messages.values(), key=lambda m: m.deadline):
            waits = not message.steps or message.steps == ["uncertain"]
            if waits and not message.over and not message.doubted and message.deadline <= when:
                message.steps.append("failed")
                message.doubted = True
                self._give_back(message, message.deadline)

    def _request(self, request: Request) -> None:
        if request.outcome != "allow":
            return
        self.messages[request.user, request.id] = Message(request, request.until + 15 * MINUTE)
        if request.outside:
            self._expire(request.at)
            self.places.setdefault(request.user, {})[request.id] = 1
            self.expiry[request.user] = max(self.expiry.get(request.user, 0), request.at + DAY)

    def _expire(self, when: int) -> None:
        for user in [user for user, at in self.expiry.items() if at <= when]:
            del self.expiry[user], self.places[user]

    def _give_back(self, message: Message, when: int) -> None:
        user = message.request.user
        if message.request.outside and user in self.places:
            self.places[user].pop(message.request.id, None)
            if not self.places[user]:
                del self.places[user], self.expiry[user]

    def _heard(self, when: int, kind: str, key: tuple[str, str]) -> None:
        message = self.messages[key]
        if message.over:
            return
        steps = message.steps
        if kind == "uncertain":
            if not steps:
                steps.append("uncertain")
                message.deadline = when + 15 * MINUTE
            return
        if kind == "refused":
            if message.doubted:
                message.over = True
            elif "accepted" not in steps:
                steps.append("failed")
                message.over = True
                self._give_back(message, when)
            return
        if kind == "failed" and message.doubted:
            message.over = True
            return
        message.doubted = False
        if "accepted" not in steps:
            steps.append("accepted")
        if kind == "failed":
            if "delivered" not in steps:
                steps.append("failed")
                message.over = True
                self._give_back(message, when)
        elif kind == "sent":
            if "sent" not in steps and "delivered" not in steps:
                steps.append("sent")
        elif kind in ("delivered", "read"):
            if "delivered" not in steps:
                steps.append("delivered")
                self._deliver(message.request, when)
            if kind == "read" and "read" not in steps:
                steps.append("read")
                message.over = True

    def _deliver(self, request: Request, when: int) -> None:
        user = request.user
        if self.entry_open(user, when):
            return
        if request.answers_click and self.click.get(user) is not None:
            self.entry[user] = when
            self.click[user] = None
            for key in [key for key in self.open if key[0] == user]:
                del self.open[key]
            self.counted.append((user, "free_entry_point"))
            return
        category = str(request.category)
        live = self.live(user, when)
        if category in live or (category == "service" and live):
            return
        self.open[user, category] = when
        self.counted.append((user, category))

    def entry_open(self, user: str, when: int) -> bool:
        return user in self.entry and when < self.entry[user] + 3 * DAY

    def live(self, user: str, when: int) -> set[str]:
        return {category for (who, category), at in self.open.items() if who == user and when < at + DAY}


@dataclass
class Naive:
    """All that ever happened, in order; `tier` users outside the window in a moving day; `room` in the free tier or not."""

    tier: int
    room: bool
    happened: list[tuple[int, str, Any]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def receive(self, user: str, wamid: str, clicked: bool, now: int) -> None:
        self.happened.append((now, "received", (user, wamid, clicked)))

    def hear(self, what: str, key: tuple[str, str], now: int) -> None:
        self.happened.append((now, what, key))

    def send(self, user: str, id_: str, template: str | None, fallback: bool, now: int) -> Request:
        """The answer to a request: the first one's, for the same once more."""
        body = (template, fallback)
        same = [r for r in self.requests if (r.user, r.id) == (user, id_)]
        for known in same:
            if known.body == body:
                return known
        if same:
            answer = Request(user, id_, body, now, "reject", "idempotency_conflict")
        else:
            answer = self._decide(user, id_, template, fallback, now)
            self.happened.append((now, "request", answer))
        self.requests.append(answer)
        return answer

    def _decide(self, user: str, id_: str, template: str | None, fallback: bool, now: int) -> Request:
        seen = Picture(self.happened, now)
        answer = Request(user, id_, (template, fallback), now, "reject", "window_closed")
        closes = seen.window.get(user, 0)
        inside = now < closes
        if template is None and not inside:
            if not fallback:
                return answer
            template = "order_update"
        answer.category = CATEGORY[template]
        answer.outside = not inside
        if not inside and user not in seen.expiry and len(seen.expiry) >= self.tier:
            answer.reason = "tier_limit_reached"
            return answer
        answer.outcome, answer.reason = "allow", "ok"
        waits = now + (10 * MINUTE if answer.category == "authentication" else 4 * HOUR)
        answer.until = min(waits, closes) if answer.category == "service" else waits
        self._price(answer, seen, now)
        return answer

    def _price(self, answer: Request, seen: Picture, now: int) -> None:
        user, category = answer.user, answer.category
        flying = [
            m.request
            for m in seen.messages.values()
            if m.flying() and m.request.user == user and m.request.at + DAY > now
        ]
        if seen.entry_open(user, now):
            answer.action, answer.price = "reuse", "free_entry_point"
            return
        click = seen.click.get(user)
        if click is not None and now < click + DAY:
            answer.answers_click, answer.price = True, "free_entry_point"
            answer.action = "reuse" if any(m.answers_click for m in flying) else "open"
            return
        live = seen.live(user, now)
        if category in live or (category == "service" and live):
            answer.action, answer.price = "reuse", "reused"
            return
        for other in flying:
            if category in (other.category, "service"):
                answer.action = "reuse"
                answer.price = "free_entry_point" if other.answers_click else "reused"
                return
        answer.action = "open"
        answer.price = "free_tier" if category == "service" and self.room else "regular"
