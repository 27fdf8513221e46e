"""What the sender writes to the Graph API and makes of its answers, to the byte: on a real connection, against a server that answers what it is told."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Sequence
from time import monotonic

import pytest
import pytest_asyncio
from pydantic import SecretStr

from services.sender.answers import Accepted, Answer, NoAnswer, NotSent, Refused
from services.sender.graph import KEEPALIVE_S, Graph
from services.sender.wire import LARGEST_ANSWER
from shared.tokens import Credentials

TOKEN = Credentials(SecretStr("a-token"))
BODY = b'{"to": "+4915112345678"}'
TAKEN = b'{"messages": [{"id": "wamid.1"}]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(TAKEN), TAKEN)
HANG = b""
PATIENCE_S = 5.0


class Wire:
    """A server that gives the scripted answers in turn; an answer that ends with None cuts the connection."""

    def __init__(self) -> None:
        self.answers: list[Sequence[bytes | None]] = []
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0
        self._server: asyncio.Server
        self._latest: asyncio.StreamWriter

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()

    def say(self, unasked: bytes) -> None:
        """Write it on the latest connection."""
        self._latest.write(unasked)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._latest = writer
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                for part in self.answers.pop(0):
                    if part is None:
                        return
                    writer.write(part)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@pytest_asyncio.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    await wire.start()
    yield wire
    await wire.stop()


@pytest_asyncio.fixture
async def graph(wire: Wire) -> AsyncIterator[Graph]:
    graph = Graph(
        f"http://127.0.0.1:{wire.port}/", "v24.0", timeout_s=PATIENCE_S, connect_timeout_s=PATIENCE_S
    )
    await graph.start()
    yield graph
    await graph.stop()


async def test_a_call_is_one_post_with_token_and_body(graph: Graph, wire: Wire) -> None:
    wire.answers = [[OK]]
    answer = await graph.send("106540", TOKEN, BODY)
    assert answer == Accepted("wamid.1", None, None)
    assert wire.requests == [
        b"POST /v24.0/106540/messages HTTP/1.1\r\n"
        b"Host: 127.0.0.1:%d\r\n"
        b"Authorization: Bearer a-token\r\n"
        b"Content-Type: application/json\r\n"
        b"Content-Length: 24\r\n\r\n" % wire.port + BODY
    ]


async def test_endpoint_and_proof_stand_in_the_target_and_nothing_escapes_from_a_number(
    graph: Graph, wire: Wire
) -> None:
    wire.answers = [[OK], [OK]]
    proved = Credentials(SecretStr("a-token"), SecretStr("a-secret"))
    await graph.send("106540", proved, BODY, "marketing_messages")
    await graph.send("1/../2 HTTP/1.1\r\nX: y", TOKEN, BODY)
    targets = [request.split(b"\r\n")[0] for request in wire.requests]
    proof = proved.query["appsecret_proof"].encode()
    assert targets == [
        b"POST /v24.0/106540/marketing_messages?appsecret_proof=%b HTTP/1.1" % proof,
        b"POST /v24.0/1%2F..%2F2%20HTTP%2F1.1%0D%0AX%3A%20y/messages HTTP/1.1",
    ]


@pytest.mark.parametrize("token", ["a\nX: y", "a\r", "a\0b", "a\udcff"])
async def test_a_token_of_two_lines_is_refused_before_anything_is_written(
    graph: Graph, wire: Wire, token: str
) -> None:
    for _ in range(2):
        answer = await graph.send("106540", Credentials(SecretStr(token), SecretStr("s")), BODY)
        assert answer == Refused(401, 0, "the access token is not one line of text")
    assert wire.connections == 0


@pytest.mark.parametrize(
    "answer",
    [
        [OK],
        [OK[:20], OK[20:-3], OK[-3:]],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + OK],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n" % (len(TAKEN), TAKEN), b"0\r\n\r\n"],
    ],
)  # fmt: skip
async def test_a_whole_answer_is_read_however_it_comes_and_the_connection_serves_again(
    graph: Graph, wire: Wire, answer: list[bytes]
) -> None:
    wire.answers = [answer, answer]
    for _ in range(2):
        assert await graph.send("106540", TOKEN, BODY) == Accepted("wamid.1", None, None)
    assert wire.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        [b"HTTP/1.1 200 OK\r\n\r\n", TAKEN, None],
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(TAKEN), TAKEN), None],
    ],
)
async def test_an_answer_that_ends_with_its_connection_is_read_and_the_next_call_takes_another(
    graph: Graph, wire: Wire, answer: list[bytes | None]
) -> None:
    wire.answers = [answer, [OK]]
    for _ in range(2):
        assert await graph.send("106540", TOKEN, BODY) == Accepted("wamid.1", None, None)
    assert wire.connections == 2


async def test_a_refusal_comes_with_its_code_and_usage(graph: Graph, wire: Wire) -> None:
    error = b'{"error": {"code": 130429, "message": "too fast"}}'
    usage = b'X-App-Usage: {"call_count": 28}\r\n'
    wire.answers = [[b"HTTP/1.1 400 Bad\r\n%bContent-Length: %d\r\n\r\n%b" % (usage, len(error), error)]]
    answer = await graph.send("106540", TOKEN, BODY)
    assert isinstance(answer, Refused)
    assert (answer.http_status, answer.code, answer.usage is not None) == (400, 130429, True)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        pytest.param([HANG], "TimeoutError", id="never answered"),
        pytest.param([None], "ConnectionResetError", id="cut before the answer"),
        pytest.param([OK[:-3], None], "ConnectionResetError", id="cut within the answer"),
        pytest.param([OK[:-3]], "TimeoutError", id="never finished"),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\n", TAKEN], "TimeoutError", id="of no length, never finished"),
        pytest.param([b"HTTP/1.1 429 Slow\r\n\r\n"], "TimeoutError", id="of no length, never begun"),
        pytest.param(
            [b"HTTP/1.1 100 Continue\r\n\r\n", None], "ConnectionResetError", id="cut behind an interim one"
        ),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 200_000], "HttpParserError", id="a head without end"
        ),
        pytest.param([b"nonsense\r\n\r\n"], "HttpParserError", id="no HTTP"),
    ],
)
async def test_what_is_written_and_not_answered_is_unknown_and_its_connection_never_used_again(
    graph: Graph, wire: Wire, answer: list[bytes | None], cause: str
) -> None:
    wire.answers = [answer, [OK]]
    graph._timeout_s = 0.3 if cause == "TimeoutError" else PATIENCE_S
    assert await graph.send("106540", TOKEN, BODY) == NoAnswer(cause)
    graph._timeout_s = PATIENCE_S
    assert await graph.send("106540", TOKEN, BODY) == Accepted("wamid.1", None, None)
    assert (wire.connections, len(wire.requests)) == (2, 2)


async def test_no_more_than_the_largest_answer_is_read(graph: Graph, wire: Wire) -> None:
    wire.answers = [[b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + b" " * (LARGEST_ANSWER + 1)], [OK]]  # fmt: skip
    assert await graph.send("106540", TOKEN, BODY) == Refused(200, None, None)
    assert await graph.send("106540", TOKEN, BODY) == Accepted("wamid.1", None, None)
    assert wire.connections == 2


async def test_an_answer_that_nobody_asked_for_is_nobody_s(graph: Graph, wire: Wire) -> None:
    wire.answers = [[OK], [OK]]
    await graph.send("106540", TOKEN, BODY)
    wire.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    ((_, idle),) = graph._idle
    while idle.usable:
        await asyncio.sleep(0)
    assert await graph.send("106540", TOKEN, BODY) == Accepted("wamid.1", None, None)
    assert wire.connections == 2


async def test_the_beginning_of_an_answer_that_nobody_asked_for_is_not_that_of_the_next_one(
    graph: Graph, wire: Wire
) -> None:
    wire.answers = [[OK], [OK]]
    await graph.send("106540", TOKEN, BODY)
    ((_, idle),) = graph._idle
    wire.say(b"HTTP/1.1 429 Slow\r\nX-A: ")
    while idle.usable:
        await asyncio.sleep(0)
    assert await graph.send("106540", TOKEN, BODY) == Accepted("wamid.1", None, None)


@pytest.mark.parametrize("more", [b"H", b"HTTP/1.1 429 Slow\r\nX-A: ", OK, b"\x00"])
async def test_what_comes_behind_an_answer_spoils_the_connection_and_not_the_answer(
    graph: Graph, wire: Wire, more: bytes
) -> None:
    wire.answers = [[OK + more], [OK]]
    for _ in range(2):
        assert await graph.send("106540", TOKEN, BODY) == Accepted("wamid.1", None, None)
    assert wire.connections == 2


async def test_an_answer_without_a_body_is_not_that_of_the_next_call_too(graph: Graph, wire: Wire) -> None:
    wire.answers = [[b"HTTP/1.1 204 No Content\r\n\r\n"], [None]]
    assert await graph.send("106540", TOKEN, BODY) == Refused(204, None, None)
    assert await graph.send("106540", TOKEN, BODY) == NoAnswer("ConnectionResetError")
    assert wire.connections == 1


async def test_a_connection_that_the_other_side_ends_is_not_used(graph: Graph, wire: Wire) -> None:
    wire.answers = [[OK], [OK]]
    await graph.send("106540", TOKEN, BODY)
    ((_, idle),) = graph._idle
    idle.eof_received()
    assert await graph.send("106540", TOKEN, BODY) == Accepted("wamid.1", None, None)
    assert wire.connections == 2


async def test_stopping_closes_what_is_idle(graph: Graph, wire: Wire) -> None:
    wire.answers = [[OK]]
    await graph.send("106540", TOKEN, BODY)
    ((_, idle),) = graph._idle
    await graph.stop()
    assert not idle.usable


async def test_a_connection_that_ended_waits_for_no_collector(graph: Graph, wire: Wire) -> None:
    wire.answers = [[OK, None]]
    await graph.send("106540", TOKEN, BODY)
    ended = weakref.ref(graph._idle[-1][1])
    gc.disable()
    try:
        while ended()._transport.get_protocol() is not None:  # type: ignore[union-attr]
            await asyncio.sleep(0.001)
        graph._idle.clear()
        assert ended() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("swept", [True, False])
async def test_a_connection_that_was_idle_for_long_is_closed_and_not_used(
    graph: Graph, wire: Wire, monkeypatch: pytest.MonkeyPatch, swept: bool
) -> None:
    wire.answers = [[OK], [OK]]
    await graph.send("106540", TOKEN, BODY)
    later_s = monotonic() + KEEPALIVE_S
    monkeypatch.setattr("services.sender.graph.monotonic", lambda: later_s)
    if swept:
        graph._sweep()
        assert not graph._idle
    assert await graph.send("106540", TOKEN, BODY) == Accepted("wamid.1", None, None)
    assert wire.connections == 2


async def test_no_connection_is_certainly_not_sent() -> None:
    graph = Graph("http://127.0.0.1:9", "v24.0", timeout_s=1, connect_timeout_s=1)
    await graph.start()
    answer: Answer = await graph.send("106540", TOKEN, BODY)
    await graph.stop()
    assert answer == NotSent("ClientConnectorError")


async def test_a_connection_that_comes_too_late_is_kept_and_nothing_is_written(
    graph: Graph, wire: Wire
) -> None:
    assert await graph.send("106540", TOKEN, BODY, start_within_s=0) == NotSent("too_late", reached=True)
    wire.answers = [[OK]]
    assert await graph.send("106540", TOKEN, BODY) == Accepted("wamid.1", None, None)
    assert (len(wire.requests), wire.connections) == (1, 1)


async def test_calls_at_once_each_have_a_connection_and_a_cancelled_one_closes_its_own(
    graph: Graph, wire: Wire
) -> None:
    wire.answers = [[HANG], [OK], [OK]]
    hanging = asyncio.create_task(graph.send("106540", TOKEN, BODY))
    while not wire.requests:
        await asyncio.sleep(0)
    assert await graph.send("106540", TOKEN, BODY) == Accepted("wamid.1", None, None)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    assert await graph.send("106540", TOKEN, BODY) == Accepted("wamid.1", None, None)
    assert wire.connections == 2
