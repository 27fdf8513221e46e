"""Webhooks over HTTP: every refusal, and 200 only for what was published."""

import asyncio
import gzip
import json
import logging
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.ingress.bodies import MAX_BODY_BYTES
from services.ingress.publisher import Unavailable
from services.ingress.routes import Limits
from shared.events import decode_conversation_event
from tests.unit.ingress.door import (
    MESSAGE,
    OTHER_SECRET,
    OTHER_TOKEN,
    PREVIOUS,
    SECRET,
    TOKEN,
    Ingress,
    counted,
    signature,
    started,
    webhook,
)


@pytest_asyncio.fixture
async def ingress() -> AsyncIterator[Ingress]:
    async for running in started(Limits(body_s=0.3, in_flight=2, held_bytes=8 * 1024 * 1024)):
        yield running


async def test_the_handshake_gives_the_challenge_back_as_text(ingress: Ingress) -> None:
    query = {"hub.mode": "subscribe", "hub.challenge": "0012 <b>\u00e4", "hub.verify_token": TOKEN}
    async with ingress.http.get(ingress.url, params=query) as answer:
        assert (answer.status, answer.content_type, await answer.text()) == (
            200,
            "text/plain",
            "0012 <b>\u00e4",
        )


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"hub.mode": "subscribe", "hub.challenge": "1"},
        {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": "wrong"},
        {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": "\u00e4\U0001f600"},
        {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": ""},
        {"hub.mode": "unsubscribe", "hub.challenge": "1", "hub.verify_token": TOKEN},
        {"hub.mode": "subscribe", "hub.verify_token": TOKEN},
    ],
)
async def test_a_handshake_that_is_none_is_refused(ingress: Ingress, query: dict[str, str]) -> None:
    async with ingress.http.get(ingress.url, params=query) as answer:
        assert answer.status == 403


async def test_each_app_has_a_path_a_secret_and_a_token_of_its_own(ingress: Ingress) -> None:
    before = counted("ok", "shop")
    assert await ingress.post(webhook(MESSAGE), secret=OTHER_SECRET, app="/shop") == (200, "")
    assert counted("ok", "shop") == before + 1
    for token, status in ((OTHER_TOKEN, 200), (TOKEN, 403)):
        query = {"hub.mode": "subscribe", "hub.challenge": "1", "hub.verify_token": token}
        async with ingress.http.get(f"{ingress.url}/shop", params=query) as answer:
            assert answer.status == status


async def test_the_signature_of_another_app_is_a_wrong_one_and_nothing_more_is_said(ingress: Ingress) -> None:
    before = counted("bad_signature", "shop")
    assert await ingress.post(webhook(MESSAGE), secret=SECRET, app="/shop") == (401, "bad signature")
    assert await ingress.post(webhook(MESSAGE), secret=OTHER_SECRET) == (401, "bad signature")
    assert ingress.publisher.records == []
    assert counted("bad_signature", "shop") == before + 1


@pytest.mark.parametrize("path", ["/nobody", "/", "/shop/", "//shop", "s", "/SHOP", "/%00"])
async def test_a_path_of_no_app_is_not_found(ingress: Ingress, path: str) -> None:
    before = counted("unknown_app", "none")
    assert await ingress.post(webhook(MESSAGE), app=path) == (404, "not found")
    assert counted("unknown_app", "none") == before + 1
    assert ingress.publisher.records == []


async def test_a_signed_webhook_is_published_and_answered_with_200(ingress: Ingress) -> None:
    before = counted("ok")
    assert await ingress.post(webhook(MESSAGE)) == (200, "")
    (record,) = ingress.publisher.records
    event = decode_conversation_event(record.value)
    assert (record.topic.name, record.key, event.event_id) == (
        "conversation.events.v1",
        b"106:16505551234",
        "wamid.1",
    )
    assert counted("ok") == before + 1


async def test_both_secrets_are_good_while_they_are_rotated(ingress: Ingress) -> None:
    assert (await ingress.post(webhook(MESSAGE), secret=PREVIOUS))[0] == 200


@pytest.mark.parametrize(
    "given",
    [
        "",
        "sha256=",
        "sha256=" + "0" * 64,
        "sha1=abc",
        "sha256=\u00e4\u00f6\u00fc",
        "\u2603",
        "0" * 64,
        "sha256=" + "g" * 64,
    ],
)
async def test_a_wrong_signature_is_refused_and_nothing_more_is_said(ingress: Ingress, given: str) -> None:
    before = counted("bad_signature")
    assert await ingress.post(webhook(MESSAGE), headers={"X-Hub-Signature-256": given}) == (
        401,
        "bad signature",
    )
    assert ingress.publisher.records == []
    assert counted("bad_signature") == before + 1


async def test_a_missing_signature_is_refused(ingress: Ingress) -> None:
    async with ingress.http.post(ingress.url, data=webhook(MESSAGE)) as answer:
        assert (answer.status, await answer.text()) == (401, "bad signature")


async def test_header_bytes_that_are_no_text_are_only_a_wrong_signature(ingress: Ingress) -> None:
    answer = await ingress.raw(
        b"POST /webhooks HTTP/1.1\r\nHost: x\r\nX-Hub-Signature-256: sha256=\xff\xfe\x80\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert answer.startswith(b"HTTP/1.1 401 ")


async def test_the_signature_of_another_body_is_refused(ingress: Ingress) -> None:
    other = signature(webhook(MESSAGE) + b" ", SECRET)
    assert (await ingress.post(webhook(MESSAGE), headers={"X-Hub-Signature-256": other}))[0] == 401


async def test_the_signature_is_checked_before_the_body_is_looked_at(ingress: Ingress) -> None:
    assert (await ingress.post(b"no json", secret=b"wrong"))[0] == 401


@pytest.mark.parametrize("body", [b"", b"no json", b"{", b"[" * 200_000])
async def test_a_signed_body_that_is_no_json_is_a_bad_one(ingress: Ingress, body: bytes) -> None:
    assert await ingress.post(body) == (400, "bad body")


async def test_an_unknown_object_is_not_found_and_publishes_nothing(ingress: Ingress) -> None:
    before = counted("unknown_object")
    assert await ingress.post(webhook(MESSAGE, name="permissions")) == (404, "unknown object")
    assert ingress.publisher.records == []
    assert counted("unknown_object") == before + 1


async def test_a_body_that_says_it_is_too_large_is_refused_unread(ingress: Ingress) -> None:
    answer = await ingress.raw(
        b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1)
    )
    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_turns_out_too_large_is_refused(ingress: Ingress) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(5):
            yield b" " * 1024 * 1024

    async with ingress.http.post(ingress.url, data=chunks()) as answer:
        assert answer.status == 413


async def test_the_largest_body_goes_through_and_what_kafka_cannot_hold_is_parked_in_chunks(
    ingress: Ingress,
) -> None:
    room = MAX_BODY_BYTES - len(webhook({**MESSAGE, "text": {"body": ""}}))
    assert (await ingress.post(webhook({**MESSAGE, "text": {"body": "x" * room}})))[0] == 200
    records = ingress.publisher.records
    assert {record.topic.name for record in records} == {"webhooks.v1.dlq"}
    assert [dict(record.headers)["dlq-chunk"] for record in records] == [b"%d/5" % n for n in range(1, 6)]
    assert b"".join(record.value for record in records).count(b"x") >= room


async def test_a_body_too_many_for_all_that_are_held_is_to_come_again() -> None:
    async for ingress in started(Limits(held_bytes=250_000)):
        ingress.publisher.held.clear()
        body = webhook({**MESSAGE, "text": {"body": "x" * 100_000}})
        posts = [asyncio.create_task(ingress.post(body)) for _ in range(2)]
        async with asyncio.timeout(5):
            while ingress.webhooks.in_flight < 2:
                await asyncio.sleep(0.01)
        assert (await ingress.post(body))[0] == 503
        ingress.publisher.held.set()
        assert [(await post)[0] for post in posts] == [200, 200]
        assert (await ingress.post(body))[0] == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity"])
async def test_a_compressed_body_is_refused(ingress: Ingress, encoding: str) -> None:
    body = gzip.compress(webhook(MESSAGE))
    assert (await ingress.post(body, headers={"Content-Encoding": encoding}))[0] == 415


async def test_a_truncated_body_leaves_no_traceback_and_the_next_one_is_taken(
    ingress: Ingress, caplog: pytest.LogCaptureFixture
) -> None:
    before = counted("bad_body")
    with caplog.at_level(logging.WARNING):
        await ingress.raw(
            b'POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"obj', close=True
        )
        await ingress.raw(
            b"POST /webhooks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", close=True
        )
        async with asyncio.timeout(5):
            while counted("bad_body") < before + 2:
                await asyncio.sleep(0.01)
    assert not [record for record in caplog.records if record.exc_info]
    assert (await ingress.post(webhook(MESSAGE)))[0] == 200


async def test_a_body_that_stays_away_is_timed_out(ingress: Ingress) -> None:
    answer = await ingress.raw(b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_drips_is_timed_out(ingress: Ingress) -> None:
    async def drips() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.05)

    async with ingress.http.post(ingress.url, data=drips()) as answer:
        assert answer.status == 408


async def test_what_kafka_does_not_take_is_to_come_again(ingress: Ingress) -> None:
    ingress.publisher.failure = Unavailable("no acknowledgement")
    async with ingress.http.post(
        ingress.url,
        data=webhook(MESSAGE),
        headers={"X-Hub-Signature-256": signature(webhook(MESSAGE), SECRET)},
    ) as answer:
        assert answer.status == 503
        assert int(answer.headers["Retry-After"]) > 0


async def test_while_kafka_takes_nothing_the_answer_comes_at_once(ingress: Ingress) -> None:
    ingress.publisher.taking = False
    ingress.publisher.held.clear()
    assert (await ingress.post(webhook(MESSAGE)))[0] == 503


async def test_more_than_fit_in_flight_are_to_come_again_and_the_others_are_taken(ingress: Ingress) -> None:
    ingress.publisher.held.clear()
    posts = [asyncio.create_task(ingress.post(webhook(MESSAGE))) for _ in range(5)]
    async with asyncio.timeout(5):
        while sum(post.done() for post in posts) < 3:
            await asyncio.sleep(0.01)
    ingress.publisher.held.set()
    assert sorted([(await post)[0] for post in posts]) == [200, 200, 503, 503, 503]


async def test_an_undecodable_update_is_parked_with_its_place_and_the_rest_is_published(
    ingress: Ingress,
) -> None:
    assert (await ingress.post(webhook({"from": "16505551234"}, MESSAGE)))[0] == 200
    parked, good = ingress.publisher.records
    assert parked.topic.name == "webhooks.v1.dlq"
    assert dict(parked.headers) == {
        "dlq-reason": b"message without an id",
        "dlq-group": b"ingress",
        "dlq-source": b"webhook:entry/0/changes/0/messages/0",
    }
    assert json.loads(parked.value) == {"from": "16505551234"}
    assert decode_conversation_event(good.value).event_id == "wamid.1"


async def test_a_webhook_without_updates_is_answered_with_200(ingress: Ingress) -> None:
    assert (await ingress.post(b'{"object":"whatsapp_business_account","entry":[]}'))[0] == 200


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
async def test_other_methods_are_not_allowed(ingress: Ingress, method: str) -> None:
    async with ingress.http.request(method, ingress.url) as answer:
        assert answer.status == 405


async def test_stopping_finishes_what_is_in_flight(ingress: Ingress) -> None:
    ingress.publisher.held.clear()
    post = asyncio.create_task(ingress.post(webhook(MESSAGE)))
    async with asyncio.timeout(5):
        while ingress.webhooks.in_flight == 0:
            await asyncio.sleep(0.01)
    stopping = asyncio.create_task(ingress.listener.stop())
    ingress.publisher.held.set()
    assert (await post)[0] == 200
    await stopping
