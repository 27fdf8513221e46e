"""A month through the ledger and the tallies, undisturbed and then with kills, each compared with the oracle in every dimension."""

import asyncio
import shutil
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any, cast

from aiokafka import AIOKafkaProducer
from redis.asyncio import Redis

from deploy.local.paths import RUNS
from deploy.local.stack import LocalStack
from services.billing.ledger import FORGET
from shared import kafka
from shared.events import AccountChanged, encode
from shared.stream.store import Keys
from shared.topics import ACCOUNT_EVENTS
from tests.billing_month import config, rawlog
from tests.billing_month.books import Ledger, digest_of, save_ledger, tallies_in_redis, tallies_over_http
from tests.billing_month.crew import PARTITIONS, Crew, Name, Watching, faults
from tests.billing_month.generate import Month
from tests.billing_month.oracle import DIMENSIONS, Oracle
from tests.billing_month.rawlog import RawLog
from tests.billing_month.report import Report, Round, compared
from tests.billing_month.rules import Rules
from tests.billing_month.world import ACCOUNTS

ORDER: tuple[Name, Name] = ("ledger", "tallies")


class Known:
    """What the oracle says, by dimension and message."""

    def __init__(self, oracle: Oracle) -> None:
        self.totals = {dimension: oracle.totals(dimension) for dimension in DIMENSIONS}
        self.totals["free tier"] = oracle.free_tier()
        self.messages = oracle.messages()

    @property
    def months(self) -> list[tuple[str, str]]:
        """Account and month of every line."""
        return sorted({(str(line[0]), str(line[1])) for line in self.totals["line"]})


async def run(size: int, seed: int, kills: int, watching: Watching, *, undisturbed: bool = True) -> Report:
    """Generate, reckon, run and compare.

    Args:
        size: messages.
        seed: of the month and of the faults.
        kills: of each process in the disturbed round; 0 leaves it out.
        watching: who looks on.
        undisturbed: whether there is a round without faults.

    Raises:
        TimeoutError: a process stands still; the text ends with its log.
        StackError: Kafka or Redis did not start.
    """
    began = monotonic()
    report = Report(size, seed, kills)
    RUNS.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="month-", dir=RUNS))
    try:
        rules = Rules(config.write(folder / "config"))
        watching.doing("generating the month")
        month = Month(rules, size, seed).messages()
        raw = rawlog.write(month, size, seed, folder / "log.jsonl", lambda n: watching.moved(n, size))
        report.messages, report.events, report.generated_s = raw.messages, raw.events, round(raw.seconds, 1)
        watching.doing("asking the oracle")
        asked = monotonic()
        known = Known(Oracle(raw.path, rules, folder / "oracle.duckdb"))
        report.oracle_s = round(monotonic() - asked, 1)
        report.oracle_digest = digest_of(*known.totals.values(), known.messages)
        report.oracle.append(compared("what the generator meant", raw.lines, known.totals["line"]))
        if undisturbed:
            await _round(Round("Undisturbed"), 0, folder, raw, known, report, watching)
        if kills:
            await _round(Round("With kills"), kills, folder, raw, known, report, watching)
    finally:
        shutil.rmtree(folder)
    report.seconds = round(monotonic() - began, 1)
    return report


async def _round(
    of: Round, kills: int, folder: Path, raw: RawLog, known: Known, report: Report, watching: Watching
) -> None:
    report.rounds.append(of)
    watching.doing(f"{of.name}: starting Kafka and Redis")
    async with LocalStack(name="month") as stack, Crew(stack, folder / "config", raw, watching) as crew:
        await kafka.create_topics(crew.settings)
        await introduce(crew)
        await (
            _disturbed(crew, kills, raw, report, watching) if kills else _steadily(crew, raw, of, watching)
        )
        watching.doing(f"{of.name}: comparing")
        await _compare(crew, of, folder, known)
        if not kills:
            await _restart(crew, of, watching)
        of.killed, of.ended = dict(crew.killed), dict(crew.ended)


async def introduce(crew: Crew) -> None:
    """Let the account events tell the accounts' facts, from before the month."""
    producer: AIOKafkaProducer = kafka.producer(crew.settings)
    await producer.start()
    try:
        for account in ACCOUNTS:
            told = AccountChanged(
                event_id=f"introduced:{account.waba_id}",
                at_ms=1,
                waba_id=account.waba_id,
                subject="account",
                id=account.waba_id,
                fields=account.facts(),
            )
            topic = kafka.name_of(ACCOUNT_EVENTS, crew.settings)
            await producer.send_and_wait(topic, encode(told), key=account.waba_id.encode(), partition=0)
    finally:
        await producer.stop()


async def _steadily(crew: Crew, raw: RawLog, of: Round, watching: Watching) -> None:
    """One after the other, so that each is measured by itself."""
    watching.doing(f"{of.name}: publishing {raw.events:,} send events")
    await rawlog.publish(raw, crew.settings, lambda n: watching.moved(n, raw.events))
    for name in ORDER:
        watching.doing(f"{of.name}: the {name}")
        began = monotonic()
        await crew.start(name)
        seconds = await crew.up_to_date(name) - began
        if name == "ledger":
            of.ledger_s = round(seconds, 1)
            await crew.stop(name)
        else:
            of.tallies_s = round(seconds, 1)


async def _disturbed(crew: Crew, kills: int, raw: RawLog, report: Report, watching: Watching) -> None:
    """Both at once, while events come and faults happen."""
    for name in ORDER:
        await crew.start(name)
    async with asyncio.TaskGroup() as group:
        group.create_task(rawlog.publish(raw, crew.settings, lambda _: None))
        group.create_task(crew.suffer(iter(faults(report.seed, kills))))
    for name in ORDER:
        watching.doing(f"the {name}, after the last fault")
        await crew.up_to_date(name)


async def _restart(crew: Crew, of: Round, watching: Watching) -> None:
    watching.doing(f"{of.name}: restarting the tallies with the full ledger counted")
    await crew.kill("tallies")
    began = monotonic()
    await crew.start("tallies")
    await crew.ready()
    of.restart_s = round(await crew.up_to_date("tallies") - began, 1)


async def _compare(crew: Crew, of: Round, folder: Path, known: Known) -> None:
    lines = await save_ledger(crew.settings, folder / "ledger.jsonl")
    ledger = Ledger(lines)
    of.published, of.entries, of.contradicting = ledger.published, ledger.entries, len(ledger.contradicting)
    of.ledger_digest = ledger.digest()
    for dimension in DIMENSIONS:
        of.comparisons.append(
            compared(f"ledger by {dimension}", known.totals[dimension], ledger.totals(dimension))
        )
    of.comparisons.append(compared("ledger by message", known.messages, ledger.messages()))
    redis = Redis.from_url(crew.settings.redis_url)
    try:
        shown = await tallies_in_redis(redis, crew.settings)
        remembered = await _remembered(redis, crew)
    finally:
        await redis.aclose()
    of.forgotten = max(0, len(known.messages) - remembered)
    of.tallies_digest = digest_of(*shown.values())
    for dimension, sums in shown.items():
        of.comparisons.append(compared(f"tallies by {dimension}", known.totals[dimension], sums))
    answers = await tallies_over_http(crew.url, known.months)
    waiting = answers.pop("waiting")
    of.comparisons.append(compared("HTTP is complete", dict.fromkeys(waiting, (0,)), waiting))
    for dimension, sums in answers.items():
        of.comparisons.append(compared(f"HTTP by {dimension}", known.totals[dimension], sums))
    lines.unlink()


async def _remembered(redis: Redis, crew: Crew) -> int:
    keys = [Keys(crew.settings.redis_namespace, "ledger", n).set(FORGET) for n in range(PARTITIONS)]
    return sum([int(cast(Any, await redis.zcard(key))) for key in keys])
