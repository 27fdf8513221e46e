"""Users whose number becomes known late, on a real Kafka and Redis: their conversations move between partitions, through kills and a lost Redis, exactly once."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from time import time

import msgspec
import pytest_asyncio

from deploy.local.stack import LocalStack
from shared.events import (
    MessageReceived,
    ReceivedMessage,
    SendAccepted,
    SendRequested,
    StatusReceived,
    decode_command,
    encode,
)
from shared.ids import conversation_key
from shared.topics import CONVERSATION_EVENTS, MESSAGES_RECEIVED, SEND_COMMANDS
from tests.conftest import Prefix
from tests.integration.stream.harness import until
from tests.integration.test_router import RouterBench

USERS = [(f"49151100000{n}", f"DE.100000{n}") for n in range(10, 50)]


@pytest_asyncio.fixture
async def bench(stack: LocalStack, prefix: Prefix, tmp_path: Path) -> AsyncIterator[RouterBench]:
    bench = RouterBench(stack, prefix, tmp_path)
    await bench.start()
    yield bench
    await bench.stop()


def said(wamid: str, user: str, id_: str, at_ms: int) -> tuple[str, bytes]:
    event = MessageReceived(
        event_id=wamid, at_ms=at_ms, received_ms=at_ms, phone_number_id="N1", user=user, wamid=wamid, type="text",
        message=msgspec.Raw(b"{}"), waba_id="W1", bsuid=id_,
    )  # fmt: skip
    return conversation_key("N1", user), encode(event)


def wish(id_: str, at_ms: int) -> tuple[str, bytes]:
    event = SendRequested(
        event_id=f"r-{id_}", at_ms=at_ms, request_id=f"r-{id_}", phone_number_id="N1", user=id_, type="text",
        message=msgspec.Raw(b'{"recipient":"%s","type":"text","text":{"body":"x"}}' % id_.encode()), digest="d",
    )  # fmt: skip
    return conversation_key("N1", id_), encode(event)


def heard(id_: str, at_ms: int) -> list[tuple[str, bytes]]:
    """What Meta says of the message sent to an id: it comes under the id, however long ago the number became known."""
    key, command, wamid = conversation_key("N1", id_), f"r-{id_}#1", f"wamid.r-{id_}"
    accepted = SendAccepted(event_id="a", at_ms=at_ms, command_id=command, wamid=wamid, user=id_)
    delivered = StatusReceived(
        event_id="d", at_ms=at_ms + 1000, received_ms=at_ms + 1000, phone_number_id="N1", user=id_, wamid=wamid,
        status="delivered", meta=msgspec.Raw(b"{}"), command_id=command,
    )  # fmt: skip
    return [(key, encode(accepted)), (key, encode(delivered))]


async def test_conversations_move_to_the_number_once_though_routers_are_killed_and_redis_is_lost(
    bench: RouterBench,
) -> None:
    now = int(time() * 1000)
    await bench.know()
    router = bench.router()
    first = [said(f"wamid.{id_}", id_, id_, now) for _, id_ in USERS]
    await bench.feed([*first, *(wish(id_, now) for _, id_ in USERS)])

    async def commanded() -> bool:
        return len(await bench.values(SEND_COMMANDS)) == len(USERS)

    await until(commanded, "a command for each user")
    named = [said(f"wamid.{user}", user, id_, now + 1) for user, id_ in USERS]
    await bench.feed(named)
    outcomes = [row for _, id_ in USERS for row in heard(id_, now)]

    async def moving() -> bool:
        return any(b"ConversationMoved" in value for value in await bench.values(CONVERSATION_EVENTS))

    await until(moving, "a conversation on its way")
    await router.kill()
    await bench.feed(outcomes)
    router = bench.router()

    async def delivered() -> bool:
        return len(await bench.told("delivered")) == len(USERS)

    await until(delivered, "every delivery")
    assert {e.user and (e.user.user_id, e.user.bsuid) for e in await bench.told("delivered")} == set(USERS)

    await bench.settled()
    await router.kill()
    await bench.lose_redis()
    bench.router()
    again = [said(f"wamid.late.{id_}", id_, id_, now + 2) for _, id_ in USERS]
    await bench.feed([*first, *named, *(wish(id_, now) for _, id_ in USERS), *outcomes, *again])

    async def settled() -> bool:
        return len(await bench.values(MESSAGES_RECEIVED)) == 3 * len(
            USERS
        ) and await bench.published() == len(await bench.read(CONVERSATION_EVENTS))

    await until(settled, "all is folded, the messages under the ids too")
    messages = [msgspec.json.decode(v, type=ReceivedMessage) for v in await bench.values(MESSAGES_RECEIVED)]
    assert Counter(message.event_id for message in messages).most_common(1)[0][1] == 1
    late = [message.user for message in messages if "late" in message.event_id]
    assert {(user.user_id, user.bsuid) for user in late} == set(USERS)
    assert len(await bench.values(SEND_COMMANDS)) == len(USERS)
    assert {decode_command(value).user for value in await bench.values(SEND_COMMANDS)} == {
        id_ for _, id_ in USERS
    }
    for event in ("accepted", "delivered"):
        assert len(await bench.told(event)) == len(USERS)
