"""Meta's handshake with a callback URL, done in Meta's place (Meta, webhooks, getting started, verification requests)."""

import secrets

from yarl import URL

from services.push.endpoints import Endpoint
from services.push.http import HttpClient


class HandshakeFailed(Exception):
    """The endpoint did not give the challenge back; the text says what it did."""


async def shake_hands(endpoint: Endpoint, token: str, *, allow_private: bool) -> None:
    """Ask the endpoint to give a challenge back.

    Raises:
        HandshakeFailed: it did not.
    """
    challenge = str(secrets.randbelow(10**9))
    query = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": token}
    client = HttpClient(
        str(URL(endpoint.url).update_query(query)),
        connections=1,
        timeout_s=endpoint.timeout_s,
        allow_private=allow_private,
    )
    await client.start()
    try:
        answer = await client.get()
    finally:
        await client.stop()
    if answer.outcome != "delivered":
        raise HandshakeFailed(f"answered with {answer.detail}")
    if answer.said.strip() != challenge.encode():
        raise HandshakeFailed("answered with something else than the challenge")
