"""A sender of webhooks that behaves as Meta does: what is not answered with 200 comes again later, in other company.

Source: Meta, webhooks, delivery: retries with growing pauses for days, up to 1,000 updates in one POST, no promise about which ones come together.
"""

import asyncio
import hmac
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 2.0
"""Meta's own pauses grow to hours; here they only have to grow."""
_TICK_S = 0.05
_BATCH = 20
_ANSWER_WITHIN_S = 20.0
_POSTS_AT_ONCE = 64


@dataclass
class Answers:
    """What the sender was answered, and when (seconds of the monotonic clock)."""

    by_status: Counter[str] = field(default_factory=Counter)
    times: list[tuple[float, str, float]] = field(default_factory=list)
    """When the answer came, which, after how many seconds."""

    def note(self, status: str, asked_s: float) -> None:
        """One answer: a status, or `none` where there was none."""
        now = time.monotonic()
        self.by_status[status] += 1
        self.times.append((now, status, now - asked_s))

    def first(self, after_s: float, *statuses: str) -> float | None:
        """Seconds from `after_s` to the first such answer to a POST sent after it."""
        found = (
            at - after_s for at, status, took in self.times if at - took >= after_s and status in statuses
        )
        return min(found, default=None)


class MetaLike:
    """Makes `rate` new messages a second while `making`, and sends each until it is answered with 200."""

    def __init__(self, name: str, url: str, secret: str, rate: float, seed: int, users: int = 500) -> None:
        self.name = name
        self._url, self._secret, self._rate, self._users = url, secret, rate, users
        self._random = random.Random(seed)
        self._waiting: list[tuple[float, int, int]] = []
        """(when to send, attempts so far, which message)."""
        self._posts: set[asyncio.Task[None]] = set()
        self.answers = Answers()
        self.made = 0
        self.acknowledged: set[int] = set()
        self.making = True

    async def run(self) -> None:
        """Until `making` ends and everything is answered with 200."""
        began = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=_ANSWER_WITHIN_S)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
            while self.making or self._waiting or self._posts:
                now = time.monotonic()
                due = int((now - began) * self._rate) - self.made if self.making else 0
                self._waiting += [(now, 0, self.made + nth) for nth in range(due)]
                self.made += due
                self._send(http, now)
                await asyncio.sleep(_TICK_S)

    def _send(self, http: aiohttp.ClientSession, now: float) -> None:
        ready = [one for one in self._waiting if one[0] <= now]
        self._random.shuffle(ready)
        sent: set[int] = set()
        while ready and len(self._posts) < _POSTS_AT_ONCE:
            size = self._random.randint(1, _BATCH)
            group, ready = ready[:size], ready[size:]
            sent.update(which for _, _, which in group)
            post = asyncio.create_task(self._post(http, group))
            self._posts.add(post)
            post.add_done_callback(self._posts.discard)
        self._waiting = [one for one in self._waiting if one[2] not in sent]

    async def _post(self, http: aiohttp.ClientSession, group: list[tuple[float, int, int]]) -> None:
        body = webhook([self._message(which) for _, _, which in group])
        asked = time.monotonic()
        try:
            async with http.post(
                self._url, data=body, headers={"X-Hub-Signature-256": signature(self._secret, body)}
            ) as answer:
                status = str(answer.status)
        except (aiohttp.ClientError, TimeoutError):
            status = "none"
        self.answers.note(status, asked)
        if status == "200":
            self.acknowledged.update(which for _, _, which in group)
            return
        now = time.monotonic()
        for _, attempts, which in group:
            pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**attempts) * self._random.uniform(0.5, 1.5)
            self._waiting.append((now + pause, attempts + 1, which))

    def _message(self, which: int) -> dict[str, object]:
        return {
            "id": wamid(self.name, which),
            "from": f"49151{which % self._users:08}",
            "timestamp": str(int(time.time())),
            "type": "text",
            "text": {"body": f"message {which}"},
        }


def wamid(name: str, which: int) -> str:
    """The id of a message of the sender called so."""
    return f"wamid.{name}.{which}"


def webhook(messages: list[dict[str, object]]) -> bytes:
    """The body of one POST."""
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550000000", "phone_number_id": "106"},
        "messages": messages,
    }
    entry = {"id": "1", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def signature(secret: str, body: bytes) -> str:
    """As Meta signs."""
    return "sha256=" + hmac.digest(secret.encode(), body, "sha256").hex()
