"""What several routers share is exact whatever races, dies or is lost: the free tier, the messaging limit, budgets, request ids.

`WA_TEST_REQUESTS` sets how many requests race (5,000 by default; below 4,000 the free tiers of the paying accounts are not filled any more).
"""

from collections import Counter
from collections.abc import AsyncIterator
from itertools import count, islice
from os import environ
from pathlib import Path
from time import time

import pytest_asyncio

from deploy.local.stack import LocalStack
from shared.clock import FileClock
from shared.events import Decision
from shared.ids import conversation_key
from shared.pricing import Market, PriceBook
from shared.stream.publisher import partition_of
from shared.times import HOUR_MS
from tests.conftest import Prefix
from tests.integration import racing
from tests.integration.racing import Race, Record, failed, request, user, verified, wrote
from tests.integration.stream.harness import PARTITIONS, REPOSITORY, until

REQUESTS = int(environ.get("WA_TEST_REQUESTS", "5000"))
FREE, TIER = 1000, 250
"""Meta's free service conversations of an account's month, and the smallest messaging limit of a portfolio."""
NUMBERS = {"W1": [f"N{n}" for n in range(10)], "W2": [f"N{n}" for n in range(10, 20)]}
ALL_NUMBERS = [*NUMBERS["W1"], *NUMBERS["W2"]]


@pytest_asyncio.fixture
async def race(stack: LocalStack, prefix: Prefix, tmp_path: Path) -> AsyncIterator[Race]:
    race = Race(stack, prefix, tmp_path)
    await race.start()
    yield race
    await race.stop()


async def know_portfolio(race: Race, now: int) -> None:
    """Two paying accounts of one portfolio with ten numbers each."""
    for waba, numbers in NUMBERS.items():
        await race.know(racing.account(waba, numbers, now, portfolio_id="P1", messaging_limit=TIER))


def replies(waba: str, first: int, so_many: int, now: int) -> list[Record]:
    """So many customers write to the account's numbers, and each gets an answer: request `{waba}-{n}` to user n."""
    numbers, records = NUMBERS[waba], list[Record]()
    for n in range(first, first + so_many):
        number = numbers[n % len(numbers)]
        records += (wrote(number, user(n), now), request(f"{waba}-{n}", number, user(n), now))
    return records


def campaign(first: int, users: int, now: int) -> list[Record]:
    """Each of these users is to get a template from three numbers of both accounts: requests `t-{n}-{0,1,2}`."""
    return [
        request(f"t-{n}-{nth}", three_numbers(n)[nth], user(n), now, "promo")
        for nth in range(3)
        for n in range(first, first + users)
    ]


def three_numbers(n: int) -> tuple[str, str, str]:
    return ALL_NUMBERS[n % 20], ALL_NUMBERS[(n + 7) % 20], ALL_NUMBERS[(n + 13) % 20]


def ids(records: list[Record]) -> list[str]:
    """The ids of the requests among these records."""
    return [key for key in (racing.request_id(record) for record in records) if key is not None]


def prices(finals: dict[str, Decision], prefix: str) -> Counter[str]:
    """How many requests whose id begins so may go out, by type of price."""
    return Counter(
        d.price.type for id_, d in finals.items() if id_.startswith(prefix) and d.price is not None
    )


def passed_users(finals: dict[str, Decision]) -> set[int]:
    """Users to whom a template may go out."""
    return {int(id_.split("-")[1]) for id_, d in finals.items() if id_[:2] == "t-" and d.outcome == "allow"}


async def test_four_routers_share_free_tier_and_messaging_limit_exactly_though_three_are_killed(
    race: Race,
) -> None:
    now = int(time() * 1000)
    await know_portfolio(race, now)
    per_account, users = REQUESTS * 38 // 100, REQUESTS * 24 // 300
    asked = [
        record
        for trio in zip(
            replies("W1", 0, per_account, now),
            replies("W2", 10_000, per_account, now),
            [*campaign(20_000, users, now), *[None] * (2 * per_account - 3 * users)],
            strict=True,
        )
        for record in trio
        if record is not None
    ]
    routers = race.routers(4)
    await race.race_killing(routers[:3], asked)
    finals = await race.finals(ids(asked))
    for waba in NUMBERS:
        paid = max(0, per_account - FREE)
        expected = {"free_tier": per_account - paid, "regular": paid}
        assert prices(finals, waba) == Counter({kind: n for kind, n in expected.items() if n})
    passed = passed_users(finals)
    assert len(passed) == TIER
    assert {id_ for id_, d in finals.items() if d.reason == "tier_limit_reached"} == {
        f"t-{n}-{nth}" for n in range(20_000, 20_000 + users) if n not in passed for nth in range(3)
    }

    freed = sorted(passed)[:40]
    free_before = [id_ for id_, d in finals.items() if d.price is not None and d.price.type == "free_tier"]
    unsent = [id_ for id_ in free_before if id_.startswith("W1")][:60]
    await race.race([
        *(
            failed(f"t-{n}-{nth}", three_numbers(n)[nth], user(n), now, by_status=n % 2 == 0)
            for n in freed
            for nth in range(3)
        ),
        *(
            failed(id_, NUMBERS["W1"][n % 10], user(n), now, by_status=n % 2 == 0)
            for id_ in unsent
            for n in [int(id_.split("-")[1])]
        ),
    ])  # fmt: skip
    further = [*campaign(30_000, 100, now), *replies("W1", 40_000, 100, now)]
    await race.race(further)
    finals = await race.finals(ids(asked) + ids(further))
    assert len(passed_users(finals)) == TIER + len(freed)
    assert prices(finals, "W1")["free_tier"] == min(per_account, FREE) + (
        len(unsent) if per_account >= FREE else 100
    )


async def test_without_a_payment_method_exactly_the_free_tier_passes_though_three_routers_are_killed(
    race: Race,
) -> None:
    now = int(time() * 1000)
    each = REQUESTS // 3
    for nth in range(3):
        numbers = [f"D{nth}", f"E{nth}"]
        await race.know(racing.account(f"W{nth}", numbers, now, payment_method="missing"))
    asked = []
    for n in range(each):
        for nth in range(3):
            number, who = f"D{nth}", user(nth * 10_000 + n)
            asked += [verified(number, who, now), wrote(number, who, now), request(f"W{nth}-{n}", number, who, now)]  # fmt: skip
    others = [
        record
        for n in range(50)
        for record in (
            wrote("E0", user(90_000 + n), now),
            request(f"own-{n}", "E0", user(90_000 + n), now),
            wrote("D0", user(95_000 + n), now),
            request(f"stranger-{n}", "D0", user(95_000 + n), now),
        )
    ]
    routers = race.routers(4)
    await race.race_killing(routers[:3], [*asked, *others])
    finals = await race.finals(ids(asked) + ids(others))
    reasons = Counter((id_.split("-")[0], d.reason) for id_, d in finals.items())
    free = min(each, FREE)
    expected = Counter({("own", "sender_not_default"): 50, ("stranger", "recipient_not_verified"): 50})
    for nth in range(3):
        expected[f"W{nth}", "ok"] = free
        expected[f"W{nth}", "free_tier_exhausted"] = each - free
    assert reasons == +expected

    unsent = [id_ for id_, d in finals.items() if id_.startswith("W1") and d.outcome == "allow"][:70]
    await race.race([
        failed(id_, "D1", user(10_000 + n), now, by_status=n % 2 == 0)
        for id_ in unsent
        for n in [int(id_.split("-")[1])]
    ])  # fmt: skip
    further = [
        record
        for n in range(50_000, 50_120)
        for record in (
            verified("D1", user(n), now),
            wrote("D1", user(n), now),
            request(f"more-{n}", "D1", user(n), now),
        )
    ]
    await race.race(further)
    finals = await race.finals(ids(asked) + ids(others) + ids(further))
    more = Counter(d.reason for id_, d in finals.items() if id_.startswith("more"))
    assert more == (
        Counter({"ok": 70, "free_tier_exhausted": 50}) if each >= FREE + 120 else Counter({"ok": 120})
    )


async def test_redis_emptied_in_the_middle_of_the_race_lets_nobody_above_the_limits(race: Race) -> None:
    now = int(time() * 1000)
    await know_portfolio(race, now)
    per_account, users = REQUESTS * 38 // 100, REQUESTS * 24 // 300
    asked = [*replies("W1", 0, per_account, now), *campaign(20_000, users, now)]
    race.routers(4)
    await race.feed(asked)
    await race.until_folded(len(asked) // 3)
    await race.lose_redis()
    await race.settled()
    finals = await race.finals(ids(asked))
    assert prices(finals, "W1")["free_tier"] == min(FREE, per_account)
    assert len(passed_users(finals)) == TIER


async def test_requests_that_wait_for_the_messaging_limit_go_out_as_places_become_free_and_no_other(
    race: Race,
) -> None:
    now = int(time() * 1000)
    expires = now + 26 * HOUR_MS
    await know_portfolio(race, now)
    numbers = {n: ALL_NUMBERS[n % 20] for n in range(TIER + 150)}
    asked = [request(f"t-{n}", number, user(n), now, "promo", expires) for n, number in numbers.items()]
    race.routers(2)
    await race.race(asked)
    told = {e.request_id: e.decision for e in await race.events("decided") if e.decision is not None}
    assert Counter(d.outcome for d in told.values()) == {"allow": TIER, "defer": 150}
    assert {d.reason for d in told.values() if d.outcome == "defer"} == {"tier_limit_reached"}

    freed = [n for n in numbers if told[f"t-{n}"].outcome == "allow"][:60]
    await race.race([failed(f"t-{n}", numbers[n], user(n), now, by_status=n % 2 == 0) for n in freed])

    async def decided() -> Counter[str]:
        events = [e.decision for e in await race.events("decided")]
        return Counter(d.reason for d in events if d is not None and d.final)

    clock = FileClock(race.logs / "clock")
    clock.advance(601)

    async def gone_out() -> bool:
        return (await decided())["ok"] >= TIER + len(freed)

    await until(gone_out, "the freed places taken by who waited", every_s=0.3)
    await race.settled()
    assert await decided() == {"ok": TIER + len(freed)}
    clock.advance(25 * 3600)

    async def all_gone_out() -> bool:
        return (await decided())["ok"] >= len(asked)

    await until(all_gone_out, "a day later, the places of yesterday taken by the others", every_s=0.3)
    await race.settled()
    assert {d.reason for d in (await race.finals(ids(asked))).values()} == {"ok"}


async def test_budgets_are_never_exceeded_and_the_last_message_that_fits_passes(race: Race) -> None:
    now = int(time() * 1000)
    card = PriceBook.load(REPOSITORY / "config").cards.by_id["illustrative_usd_guide"]
    marketing, utility = (card.micros[Market("Germany"), kind] for kind in ("marketing", "utility"))
    of_marketing, of_all = 300 * marketing, 600 * utility + utility // 2
    budgets = [{"amount_micros": of_marketing, "category": "marketing"}]
    await race.know(racing.account("W2", NUMBERS["W2"], now, budgets=budgets))
    await race.know(racing.account("W3", ["M0", "M1"], now, budgets=[{"amount_micros": of_all}]))
    race.routers(2)
    asked = []
    for n in range(1000):
        asked.append(request(f"W2-{n}", NUMBERS["W2"][n % 10], user(n), now, "promo"))
        kind = "promo" if n % 3 == 0 else "order_update"
        asked.append(request(f"W3-{n}", f"M{n % 2}", user(n), now, kind))
    await race.race(asked)
    finals = await race.finals(ids(asked))
    reasons = Counter(d.reason for id_, d in finals.items() if id_.startswith("W2"))
    assert reasons == {"ok": 300, "budget_exceeded": 700}
    allowed = [d for id_, d in finals.items() if id_.startswith("W3") and d.outcome == "allow"]
    left = of_all - sum(amount(decision) for decision in allowed)
    assert 0 <= left < utility


def amount(decision: Decision) -> int:
    """The price of an answered request, in millionths."""
    assert decision.price is not None
    return decision.price.amount_micros


async def test_a_request_id_used_at_once_for_receivers_on_several_partitions_passes_once(race: Race) -> None:
    now = int(time() * 1000)
    await race.know(racing.account("W1", NUMBERS["W1"], now))
    receivers = [
        next(islice((u for u in map(user, count()) if place("N0", u) == partition), 1))
        for partition in range(3)
    ]
    asked = [
        request(f"same-{n}", "N0", receivers[(n + nth) % 3], now, "promo")
        for n in range(60)
        for nth in range(3)
    ]
    race.routers(4)
    await race.race(asked)
    decided = [e for e in await race.events("decided") if e.decision is not None]
    by_id = Counter((e.request_id, e.decision.reason) for e in decided if e.decision is not None)
    assert by_id == {
        (f"same-{n}", reason): times
        for n in range(60)
        for reason, times in (("ok", 1), ("idempotency_conflict", 2))
    }


def place(number: str, who: str) -> int:
    """The partition of a conversation."""
    return partition_of(conversation_key(number, who).encode(), PARTITIONS)
