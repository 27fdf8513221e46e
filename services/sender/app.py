"""Composition root of the sender: account facts, intake, journal, dispatch, Meta. No network until the parts start."""

from functools import partial
from typing import get_args

import structlog

from services.sender.breakers import BreakerScope
from services.sender.desk import Desk
from services.sender.dispatch import Dispatcher
from services.sender.graph import Graph
from services.sender.intake import Intake
from services.sender.journal import Journal
from services.sender.outcomes import Outcomes
from services.sender.permits import Permits
from services.sender.sending import CLAIM_FRESH_S
from services.sender.settings import SenderSettings
from services.sender.shares import Shares
from services.sender.usage import UsageScope
from shared import logs
from shared.account_reader import AccountReader
from shared.backlog_notes import BacklogNotes
from shared.clock import clock_from
from shared.error_table import ErrorTable
from shared.inbound import InboundRates
from shared.lifecycle import Service
from shared.metrics import CIRCUIT_REASONS, GRAPH_USAGE, OPEN_CIRCUITS, SEND_ERRORS
from shared.stream.processor import Processor
from shared.stream.store import connect
from shared.tokens import tokens_of
from shared.topics import SEND_COMMANDS

log = structlog.get_logger(__name__)

GROUP = "sender"
INTAKE_AT_ONCE = 400
"""Commands: while they are folded, some milliseconds, answers to calls wait to be read, and each millisecond of a call is one of its place."""
INTAKE_EACH = 50
"""Commands of a partition before the next one's: all numbers begin at once."""


class _JournalCheck:
    """A part that looks, before anything is sent, whether Redis keeps what it acknowledges."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def start(self) -> None:
        wanting = await self._journal.durability()
        if wanting is not None:
            log.warning("journal_not_durable", found=wanting, wanted="appendonly yes, appendfsync always")

    async def stop(self) -> None:
        """Nothing to stop."""


def build(service: Service, settings: SenderSettings) -> Desk:
    """Wire the parts, in start order; returns the desk, whose moments tests watch."""
    redis, clock = connect(settings), clock_from(settings.clock_file)
    table = ErrorTable.load(settings.config_dir / "errors.yaml")
    for row in table.rows:
        SEND_ERRORS.labels(row.label)
    SEND_ERRORS.labels("transport")
    journal = Journal(redis, settings.redis_namespace, GROUP)
    service.add(_JournalCheck(journal))
    reader = service.add(AccountReader(service, settings))
    outcomes = service.add(Outcomes(settings))
    graph = service.add(
        Graph(
            settings.graph_url,
            settings.graph_version,
            timeout_s=settings.call_timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
        )
    )
    processor = service.add(
        Processor(
            service,
            settings,
            group=GROUP,
            fold=Intake(),
            source=SEND_COMMANDS,
            memory=None,
            facts=lambda: reader.facts,
            redis=redis,
            clock=clock,
            cache=0,
            most=INTAKE_AT_ONCE,
            each=INTAKE_EACH,
            room=lambda partition: dispatcher.room(partition),
            rest=lambda took_s: dispatcher.rest(took_s),
        )
    )
    inbound = service.add(
        InboundRates(service, redis, settings.redis_namespace, clock, lambda: list(desk.gates))
    )
    desk = Desk(
        journal=journal,
        graph=graph,
        outcomes=outcomes,
        tokens=tokens_of(settings),
        ownership=processor,
        table=table,
        facts=lambda: reader.facts,
        clock=clock,
        spawn=service.spawn,
        user_hash=logs.hasher(settings.log_key.get_secret_value()),
        claim_grace_ms=int((settings.call_timeout_s + CLAIM_FRESH_S) * 1000),
        shares=Shares(settings.max_in_flight),
        inbound=inbound.rate,
    )
    _show(desk.permits)
    dispatcher = service.add(Dispatcher(desk, settings.drain_s, settings.max_waiting))
    service.add(BacklogNotes(service, redis, settings.redis_namespace, GROUP, dispatcher.backlog))
    return desk


def _show(permits: Permits) -> None:
    """Let the gauges of circuits and usage ask when they are read."""
    for scope in get_args(BreakerScope):
        for reason in CIRCUIT_REASONS:
            OPEN_CIRCUITS.labels(scope, reason).set_function(partial(permits.open_circuits, scope, reason))
    for scope in get_args(UsageScope):
        GRAPH_USAGE.labels(scope).set_function(partial(permits.usage, scope))
