"""What is no honest HTTP: the right status, nothing published, no traceback, and a connection held no longer than it must be."""

import asyncio
import email
import email.utils
import gc
import logging
import re
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
import pytest_asyncio
from aiohttp import StreamReader

from services.ingress.connections import ConnectionLimits
from services.ingress.routes import Limits
from shared.metrics import REGISTRY
from tests.unit.ingress.door import (
    CONNECTIONS,
    MESSAGE,
    SECRET,
    Ingress,
    counted,
    signature,
    started,
    webhook,
)

BODY = webhook(MESSAGE)
SIGNED = f"Host: x\r\nX-Hub-Signature-256: {signature(BODY, SECRET)}\r\n".encode()
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
GOOD = b"POST /webhooks HTTP/1.1\r\n" + SIGNED + LENGTH + b"\r\n" + BODY
BOMB = zlib.compress(bytes(30_000_000))
CHUNKED = b"POST /webhooks HTTP/1.1\r\n" + SIGNED + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest_asyncio.fixture
async def ingress(caplog: pytest.LogCaptureFixture) -> AsyncIterator[Ingress]:
    with caplog.at_level(logging.WARNING):
        async for running in started():
            yield running
    assert not [record for record in caplog.records if record.exc_info]


def statuses(answer: bytes) -> list[int]:
    """Of all the answers on one connection."""
    return [int(part.split(b" ", 1)[0]) for part in re.split(rb"HTTP/1\.[01] ", answer)[1:]]


def cut(why: str) -> float:
    return REGISTRY.get_sample_value("wa_webhook_connections_cut_total", {"why": why}) or 0


REFUSED_FRAMING = {
    "two lengths": b"POST /webhooks HTTP/1.1\r\n" + SIGNED + LENGTH + b"Content-Length: 5\r\n\r\n" + BODY,
    "the same length twice": b"POST /webhooks HTTP/1.1\r\n" + SIGNED + LENGTH + LENGTH + b"\r\n" + BODY,
    "a length and chunks": b"POST /webhooks HTTP/1.1\r\n" + SIGNED + LENGTH
    + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks that are not last": b"POST /webhooks HTTP/1.1\r\n" + SIGNED
    + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "an encoding nobody knows": b"POST /webhooks HTTP/1.1\r\n" + SIGNED
    + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"POST /webhooks HTTP/1.1\r\n" + SIGNED + b"Content-Length: -1\r\n\r\n",
    "a signed length": b"POST /webhooks HTTP/1.1\r\n" + SIGNED + b"Content-Length: +5\r\n\r\nhello",
    "a length of 100 digits": b"POST /webhooks HTTP/1.1\r\n" + SIGNED + b"Content-Length: " + b"9" * 100 + b"\r\n\r\n",
    "a length in hex": b"POST /webhooks HTTP/1.1\r\n" + SIGNED + b"Content-Length: 0x5\r\n\r\nhello",
    "a chunk without a size": CHUNKED + b"\r\nhello\r\n0\r\n\r\n",
    "a chunk of a negative size": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than it says": CHUNKED + b"3\r\nhello\r\n0\r\n\r\n",
    "a chunk of 2^80 bytes": CHUNKED + b"f" * 20 + b"\r\nhello",
    "a space before the colon": b"POST /webhooks HTTP/1.1\r\nHost : x\r\n\r\n",
    "a folded header": b"POST /webhooks HTTP/1.1\r\nHost: x\r\nX-A: 1\r\n 2\r\n\r\n",
    "a NUL in a header": b"POST /webhooks HTTP/1.1\r\nHost: x\r\nX-A: \x00\r\n\r\n",
    "a bare CR in a header": b"POST /webhooks HTTP/1.1\r\nHost: x\r\nX-A: 1\rX-B: 2\r\n\r\n",
    "a header without a name": b"POST /webhooks HTTP/1.1\r\nHost: x\r\n: 2\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
    "HTTP/2 without asking": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method of noise": b"P\xffST /webhooks HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/9.9": b"POST /webhooks HTTP/9.9\r\nHost: x\r\n\r\n",
    "a request line too long": b"GET /webhooks?" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header too long": b"GET /webhooks HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 10_000 + b"\r\n\r\n",
    "200 headers": b"GET /webhooks HTTP/1.1\r\nHost: x\r\n" + b"X-A: 1\r\n" * 200 + b"\r\n",
}  # fmt: skip


@pytest.mark.parametrize("request_bytes", REFUSED_FRAMING.values(), ids=REFUSED_FRAMING)
async def test_bad_framing_is_a_bad_request_and_the_connection_ends(
    ingress: Ingress, request_bytes: bytes
) -> None:
    """Behind it stands a good request: were it taken, the framing could smuggle one past a proxy."""
    answer = await ingress.everything(request_bytes + GOOD)
    assert statuses(answer) == [400]
    assert answer.rpartition(b"\r\n\r\n")[2] in (b"bad request", b"bad body")
    assert ingress.publisher.records == []


@pytest.mark.parametrize("method", [b"PUT", b"DELETE", b"PATCH", b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND"])
async def test_other_methods_are_not_allowed_and_their_bodies_not_read(
    ingress: Ingress, method: bytes
) -> None:
    request = method + b" /webhooks HTTP/1.1\r\n" + SIGNED + LENGTH + b"Connection: close\r\n\r\n" + BODY
    assert statuses(await ingress.everything(request)) == [405]
    assert ingress.publisher.records == []


async def test_connect_makes_no_tunnel(ingress: Ingress) -> None:
    assert statuses(await ingress.everything(b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", GOOD))[:1] == [404]


async def test_http_1_0_is_answered_and_closed(ingress: Ingress) -> None:
    answer = await ingress.everything(b"POST /webhooks HTTP/1.0\r\n" + SIGNED + LENGTH + b"\r\n" + BODY)
    assert answer.startswith(b"HTTP/1.0 200 ")
    assert len(ingress.publisher.records) == 1


async def test_http_1_0_that_wants_to_stay_is_told_that_it_may(ingress: Ingress) -> None:
    answer = await ingress.raw(
        b"POST /webhooks HTTP/1.0\r\nConnection: keep-alive\r\n" + SIGNED + LENGTH + b"\r\n" + BODY
    )
    assert answer.startswith(b"HTTP/1.0 200 ")
    assert b"\r\nConnection: keep-alive\r\n" in answer


async def test_the_answer_to_a_webhook_is_whole(ingress: Ingress) -> None:
    head, fields = (await ingress.raw(GOOD)).decode().split("\r\n", 1)
    told = email.message_from_string(fields)
    assert (head, told["Content-Length"]) == ("HTTP/1.1 200 OK", "0")
    written = email.utils.parsedate_to_datetime(told["Date"])
    assert abs(written - datetime.now(UTC)) < timedelta(seconds=5)


async def test_who_left_before_the_answer_costs_nothing(ingress: Ingress) -> None:
    ingress.publisher.held.clear()
    _, writer = await asyncio.open_connection("127.0.0.1", ingress.listener.port)
    writer.write(GOOD)
    async with asyncio.timeout(5):
        while not ingress.webhooks.in_flight:
            await asyncio.sleep(0.001)
    writer.transport.abort()
    assert (await ingress.post(b"{}", secret=b"wrong"))[0] == 401
    ingress.publisher.held.set()
    assert (await ingress.post(BODY))[0] == 200
    assert len(ingress.publisher.records) == 2


async def test_pipelined_requests_are_answered_each_in_order(ingress: Ingress) -> None:
    wrong = GOOD.replace(b"sha256=", b"sha256=0")
    last = GOOD.replace(b"Host: x", b"Host: x\r\nConnection: close")
    assert statuses(await ingress.everything(GOOD + wrong + GOOD * 100 + last)) == [200, 401, *[200] * 101]
    assert len(ingress.publisher.records) == 102


async def test_who_sends_on_and_on_without_reading_is_not_served_on_and_on(ingress: Ingress) -> None:
    listening = ingress.listener._socket
    assert listening is not None
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # its connections' too
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, listening.getsockname())
        sending = loop.create_task(loop.sock_sendall(client, GOOD * 10_000))
        async with asyncio.timeout(60):
            while not any(one.writing_paused for one in ingress.listener._door.connections):
                await asyncio.sleep(0.01)
        served = len(ingress.publisher.records)
        await asyncio.sleep(0.3)
        assert len(ingress.publisher.records) - served <= 1
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_chunks_in_drips_are_one_body(ingress: Ingress) -> None:
    pieces = [b"1\r\n%c\r\n" % byte for byte in BODY]
    request = CHUNKED.replace(b"Host: x", b"Host: x\r\nConnection: close")
    assert statuses(await ingress.everything(request, *pieces, b"0\r\n\r\n")) == [200]


async def test_an_upgrade_is_not_made_and_nothing_is_taken_from_behind_it(ingress: Ingress) -> None:
    upgrade = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
    answer = await ingress.everything(
        b"POST /webhooks HTTP/1.1\r\nHost: x\r\n" + upgrade + b"Content-Length: %d\r\n\r\n" % len(GOOD) + GOOD
    )
    assert 200 not in statuses(answer)
    assert 101 not in statuses(answer)
    assert ingress.publisher.records == []


@pytest.mark.parametrize("encoding", [b"Content-Encoding: gzip", b"Content-Encoding: deflate, gzip"])
async def test_a_bomb_is_refused_unopened(ingress: Ingress, encoding: bytes) -> None:
    headers = SIGNED + encoding + b"\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(BOMB)
    assert statuses(await ingress.everything(b"POST /webhooks HTTP/1.1\r\n" + headers, BOMB)) == [415]


async def test_who_asks_before_sending_the_body_is_told_to_go_on(ingress: Ingress) -> None:
    head = (
        b"POST /webhooks HTTP/1.1\r\n"
        + SIGNED
        + LENGTH
        + b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", ingress.listener.port)
    writer.write(head)
    assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5) == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(BODY)
    assert statuses(await asyncio.wait_for(reader.read(), 5)) == [200]
    writer.close()


async def test_any_other_expectation_is_not_met(ingress: Ingress) -> None:
    head = b"POST /webhooks HTTP/1.1\r\n" + SIGNED + LENGTH + b"Expect: 200-ok\r\nConnection: close\r\n\r\n"
    assert statuses(await ingress.everything(head)) == [417]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 1_000_000,
        b'{"object":"whatsapp_business_account","entry":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"object":' + b"9" * 1_000_000 + b"}",
        b'{"object":"whatsapp_business_account","entry":[{"id":1e999999,"changes":[]}]}',
        b"\x00\xff" * 1_500_000,
    ],
    ids=[
        "deep objects",
        "deep lists",
        "deep entries",
        "a huge number",
        "an infinite number",
        "3 MB of noise",
    ],
)
async def test_signed_nonsense_is_refused_or_parked_and_never_fails(ingress: Ingress, body: bytes) -> None:
    status, text = await ingress.post(body)
    assert (status, text) in ((400, "bad body"), (404, "unknown object"), (200, ""))
    assert (status == 200) == bool(ingress.publisher.records)
    assert {record.topic.name for record in ingress.publisher.records} <= {"webhooks.v1.dlq"}


@pytest.mark.parametrize(
    "start", [b"POST /w", b"POST /webhooks HTTP/1.1\r\nHost: x\r\nX-A: "], ids=["a line", "a header"]
)
async def test_headers_that_drip_are_cut_off_in_time(ingress: Ingress, start: bytes) -> None:
    before, drips = cut("late_headers"), 0
    began_s = monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", ingress.listener.port)
    writer.write(start)
    answer = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
    async with asyncio.timeout(5):
        while not answer.done():
            writer.write(b"a")
            drips += 1
            await asyncio.wait({answer}, timeout=0.05)
        with suppress(ConnectionResetError):  # of a drip that met the end
            assert await reader.read() == b""
    assert statuses(answer.result()) == [408]
    assert monotonic() - began_s >= CONNECTIONS.header_s
    assert drips < 40
    assert cut("late_headers") == before + 1
    writer.close()


async def test_headers_that_drip_after_a_good_request_are_cut_off_too(ingress: Ingress) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", ingress.listener.port)
    writer.write(GOOD)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"POST /webh")
    assert statuses(await asyncio.wait_for(reader.read(), 5)) == [408]
    writer.close()


async def test_headers_in_two_pieces_are_in_time(ingress: Ingress) -> None:
    request = GOOD.replace(b"Host: x", b"Host: x\r\nConnection: close")
    assert statuses(await ingress.everything(request[:30], request[30:])) == [200]


async def test_an_idle_connection_is_closed_in_time(ingress: Ingress) -> None:
    for pieces in ((), (GOOD,)):
        began = asyncio.get_running_loop().time()
        await ingress.everything(*pieces)
        assert 0.3 < asyncio.get_running_loop().time() - began < 3


async def test_of_too_many_connections_those_that_brought_nothing_verified_go_first() -> None:
    async for ingress in started(connections=ConnectionLimits(header_s=30, idle_s=30, most=10)):
        used = await asyncio.open_connection("127.0.0.1", ingress.listener.port)
        used[1].write(GOOD)
        assert (await used[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        before = cut("made_room")
        idle = [await asyncio.open_connection("127.0.0.1", ingress.listener.port) for _ in range(30)]
        # A fresh client gets in all the same.
        assert statuses(await ingress.everything(GOOD.replace(b"Host", b"Connection: close\r\nHost"))) == [
            200
        ]
        assert cut("made_room") == before + 22
        assert await asyncio.wait_for(idle[0][0].read(), 5) == b""
        used[1].write(GOOD)
        assert (await used[0].readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        for _, writer in (*idle, used):
            writer.close()


async def test_when_all_connections_are_in_good_use_a_new_one_is_to_come_again() -> None:
    async for ingress in started(connections=ConnectionLimits(header_s=30, idle_s=30, most=3)):
        before, opened = cut("full"), []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", ingress.listener.port)
            writer.write(GOOD)
            await reader.readuntil(b"\r\n\r\n")
            opened.append(writer)
        assert statuses(await ingress.everything()) == [503]
        assert cut("full") == before + 1
        for writer in opened:
            writer.close()


async def test_bodies_that_come_slowly_keep_no_others_out() -> None:
    async for ingress in started(Limits(body_s=30, held_bytes=1_000_000)):
        slow = []
        for _ in range(20):
            reader, writer = await asyncio.open_connection("127.0.0.1", ingress.listener.port)
            writer.write(
                b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 200_000
            )
            await writer.drain()
            slow.append((reader, writer))
        assert await ingress.post(webhook({**MESSAGE, "text": {"body": "x" * 400_000}})) == (200, "")
        answer = await asyncio.wait_for(slow[0][0].read(), 5)
        assert statuses(answer) == [503]
        assert b"Retry-After: 5" in answer
        for _, writer in slow:
            writer.close()


async def test_a_body_that_broke_off_leaves_nothing_for_the_collector(ingress: Ingress) -> None:
    """Bodies in reference cycles would stay until it comes, which is seldom: shared/lifecycle.py."""

    def streams() -> int:
        return sum(isinstance(found, StreamReader) for found in gc.get_objects())

    gc.collect()
    before, refused = streams(), counted("bad_body")
    gc.disable()
    try:
        for _ in range(10):
            head = b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
            await ingress.raw(head, close=True)
        async with asyncio.timeout(5):
            while counted("bad_body") < refused + 10 or streams() > before:
                await asyncio.sleep(0.01)
    finally:
        gc.enable()


async def test_what_is_no_http_is_counted_and_its_bytes_are_not_logged(
    ingress: Ingress, caplog: pytest.LogCaptureFixture
) -> None:
    before = counted("bad_request", "none")
    await ingress.everything(b"GARBAGE-4915112345678\r\n\r\n")
    assert counted("bad_request", "none") == before + 1
    assert "4915112345678" not in caplog.text
