"""Several routers race for limits they share: their processes, their accounts, the events fed to them, and what they decided."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from os import environ
from typing import Any

import msgspec

from deploy.local.process import OwnedProcess
from shared.events import (
    AccountChanged,
    Decision,
    MessageReceived,
    ReceiverVerified,
    SendEvent,
    SendFailed,
    SendRequested,
    StatusReceived,
    TemplateRef,
    decode_command,
    decode_conversation_event,
    decode_send_event,
    encode,
)
from shared.ids import command_id, conversation_key
from shared.topics import ACCOUNT_EVENTS, SEND_COMMANDS, SEND_EVENTS
from tests.forking import ForkedProcess
from tests.integration.stream.harness import Bench, until

Record = tuple[str, bytes]


class Race(Bench):
    """One test's topics and its routers, each an instance of its own."""

    def routers(self, count: int) -> list[OwnedProcess]:
        """Start so many."""
        return [self._router(str(nth)) for nth in range(count)]

    def _router(self, instance: str) -> OwnedProcess:
        process = ForkedProcess(
            "services.router",
            log_path=self.logs / f"router-{instance}.log",
            env={**environ, **self.env, "WA_INSTANCE": instance, "WA_LOG_LEVEL": "warning"},
        )
        process.spawn()
        self._workers.append(process)
        return process

    async def know(self, accounts: Iterable[AccountChanged]) -> None:
        """Set up accounts."""
        await self.feed([(fact.waba_id, encode(fact)) for fact in accounts], ACCOUNT_EVENTS)

    async def race(self, records: Sequence[Record]) -> None:
        """Append all at once and wait until everything that came of them is published and all that was given back is free."""
        await self.feed(records)
        await self.settled()

    async def race_killing(self, routers: Sequence[OwnedProcess], records: Sequence[Record]) -> None:
        """The same; each of these routers is killed (-9) while the race is on, and started again."""
        before = await self.folded()
        parts = 2 * len(routers) + 1
        # The rest comes after the last kill: no kill comes after the race.
        meanwhile = len(records) * (len(routers) + 1) // parts
        feeding = asyncio.create_task(self.feed(records[:meanwhile]))
        for nth, router in enumerate(routers, 1):
            await self.until_folded(before + len(records) * nth // parts)
            await router.kill()
            router.spawn()
        await feeding
        await self.feed(records[meanwhile:])
        await self.settled()

    async def until_folded(self, count: int) -> None:
        async def folded() -> bool:
            return await self.folded() >= count

        await until(folded, f"{count} records folded", every_s=0.01)

    async def events(self, event: str) -> list[SendEvent]:
        """The send events of a kind, each once: what is published twice has the same bytes."""
        values = dict.fromkeys(row.value for row in await self.read(SEND_EVENTS))
        return [found for found in map(decode_send_event, values) if found.event == event]

    async def finals(self, asked: Iterable[str]) -> dict[str, Decision]:
        """The final decision of each request; exactly one each, and one command for each that may go out."""
        found: defaultdict[str, list[Decision]] = defaultdict(list)
        for event in await self.events("decided"):
            if event.decision is not None and event.decision.final and event.request_id is not None:
                found[event.request_id].append(event.decision)
        assert {id_: len(decisions) for id_, decisions in found.items()} == dict.fromkeys(asked, 1)
        finals = {id_: decisions[0] for id_, decisions in found.items()}
        values = {row.value for row in await self.read(SEND_COMMANDS)}
        commanded = sorted(decode_command(value).command_id for value in values)
        assert commanded == sorted(command_id(id_, 1) for id_, d in finals.items() if d.outcome == "allow")
        return finals


def request_id(record: Record) -> str | None:
    """The id of a send request; None for another record."""
    event = decode_conversation_event(record[1])
    return event.request_id if isinstance(event, SendRequested) else None


def account(waba: str, numbers: Sequence[str], at_ms: int, **fields: Any) -> Iterator[AccountChanged]:
    """An account under the guide's rules with these numbers, the first its default one, and two approved templates."""
    wanted: list[tuple[Any, str, dict[str, Any]]] = [
        ("account", waba, {"regime": "guide", "payment_method": "valid", "messaging_limit": -1} | fields),
        *(("number", number, {"default": number == numbers[0]}) for number in numbers),
        ("template", "promo/en", {"category": "marketing", "status": "APPROVED"}),
        ("template", "order_update/en", {"category": "utility", "status": "APPROVED"}),
    ]
    for subject, id_, values in wanted:
        yield AccountChanged(
            event_id=f"set-{waba}-{id_}", at_ms=at_ms, waba_id=waba, subject=subject, id=id_, fields=values
        )


def user(n: int) -> str:
    """The n-th customer, a German number."""
    return f"49151{n:08}"


def wrote(number: str, who: str, at_ms: int) -> Record:
    """The customer writes: the window is open."""
    wamid = f"wamid.{number}.{who}"
    event = MessageReceived(
        event_id=wamid, at_ms=at_ms, received_ms=at_ms, phone_number_id=number, user=who, wamid=wamid,
        type="text", message=msgspec.Raw(b"{}"),
    )  # fmt: skip
    return conversation_key(number, who), encode(event)


def verified(number: str, who: str, at_ms: int) -> Record:
    """The customer is a test receiver of the free tier."""
    event = ReceiverVerified(event_id=f"v.{number}.{who}", at_ms=at_ms, phone_number_id=number, user=who)
    return conversation_key(number, who), encode(event)


def request(
    id_: str, number: str, who: str, at_ms: int, template: str | None = None, expires_ms: int | None = None
) -> Record:
    """A business asks to send, as ingress hands it on: a template, or (None) free-form."""
    event = SendRequested(
        event_id=f"{id_}:{who}", at_ms=at_ms, request_id=id_, phone_number_id=number, user=who,
        type="template" if template else "text", message=msgspec.Raw(b'{"to":"+%s"}' % who.encode()),
        digest=f"{who}:{template}", template=TemplateRef(template, "en") if template else None,
        expires_ms=expires_ms,
    )  # fmt: skip
    return conversation_key(number, who), encode(event)


def failed(id_: str, number: str, who: str, at_ms: int, *, by_status: bool) -> Record:
    """The message of this request certainly did not arrive: Meta refused the call, or (`by_status`) says so by webhook."""
    command = command_id(id_, 1)
    event: SendFailed | StatusReceived
    if by_status:
        event = StatusReceived(
            event_id=f"{command}:failed", at_ms=at_ms, received_ms=at_ms, phone_number_id=number, user=who,
            wamid=f"wamid.{command}", status="failed", meta=msgspec.Raw(b"{}"), command_id=command,
            error_code=131026,
        )  # fmt: skip
    else:
        event = SendFailed(
            event_id=f"{command}:failed", at_ms=at_ms, command_id=command, origin="meta",
            reason="recipient_unreachable", retryable=False, code=131026,
        )  # fmt: skip
    return conversation_key(number, who), encode(event)
