"""One call of the Graph API and its answer, as everything uses it that reads or manages: JSON out, JSON in. Knows no node.

Sending has an adapter of its own (`services/sender/graph.py`): there it matters how a call failed.
Source: Meta, Graph API, requests and errors.
"""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, FormData

from shared.graph_answers import UNREADABLE, Refused, Usage, refused, usage
from shared.settings import GraphSettings
from shared.tokens import Credentials

LARGEST_ANSWER = 32 * 1024 * 1024


class GraphFailure(Exception):
    """A call that gave nothing."""


class GraphRefused(GraphFailure):
    """Meta answered with an error."""

    def __init__(self, answer: Refused) -> None:
        super().__init__(answer.text or f"HTTP {answer.http_status} without a readable error")
        self.answer = answer


class GraphUnavailable(GraphFailure):
    """No answer, or none that can be read; the text says why."""


class GraphCalls:
    """A part that calls `{url}/{version}/…`."""

    def __init__(self, url: str, version: str, *, timeout_s: float, connect_timeout_s: float) -> None:
        self._root = f"{url.rstrip('/')}/{version}"
        self._timeout = ClientTimeout(total=timeout_s, connect=connect_timeout_s)
        self._session: ClientSession

    @classmethod
    def of(cls, settings: GraphSettings) -> "GraphCalls":
        """As the settings say."""
        return cls(
            settings.graph_url,
            settings.graph_version,
            timeout_s=settings.call_timeout_s,
            connect_timeout_s=settings.connect_timeout_s,
        )

    async def start(self) -> None:
        self._session = ClientSession(timeout=self._timeout, raise_for_status=False)

    async def stop(self) -> None:
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        credentials: Credentials,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        form: FormData | None = None,
    ) -> tuple[bytes, dict[str, Any], Usage | None]:
        """The answer as it came and as an object, and what it says of the allowance; `form` in the place of a JSON body. Raises GraphFailure."""
        try:
            async with self._session.request(
                method,
                f"{self._root}/{path}",
                params={**(query or {}), **credentials.query},
                json=body,
                data=form,
                headers=credentials.headers,
                allow_redirects=False,
            ) as response:
                raw = bytearray()
                async for chunk in response.content.iter_any():
                    raw += chunk
                    if len(raw) > LARGEST_ANSWER:
                        raise GraphUnavailable(f"{path}: an answer of more than {LARGEST_ANSWER} bytes")
                status, headers = response.status, response.headers
        except (ClientError, TimeoutError, OSError) as failure:
            # Not `from failure`: aiohttp's texts hold the URL with the proof, some the headers with the token.
            raise GraphUnavailable(f"{path}: {type(failure).__name__}") from None
        if status != 200:
            raise GraphRefused(refused(status, bytes(raw), headers))
        try:
            answer = json.loads(raw)
        except UNREADABLE as failure:
            raise GraphUnavailable(f"{path}: not JSON") from failure
        if not isinstance(answer, dict):
            raise GraphUnavailable(f"{path}: not a JSON object")
        return bytes(raw), answer, usage(headers)
