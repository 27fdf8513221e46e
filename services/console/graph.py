"""Adapter to the Graph API for what the console reads and writes at Meta: accounts, numbers, templates. Knows the URLs, judges nothing.

Source: Meta, Graph API, WhatsApp Business Account, its phone_numbers and message_templates; Meta, Graph API, paging.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import structlog

from shared.graph_answers import Usage
from shared.graph_calls import GraphCalls, GraphRefused, GraphUnavailable
from shared.tokens import Credentials

log = structlog.get_logger(__name__)

PAGE = 200
"""Nodes asked for at once: 6,000 templates, the most of an account, take 30 of its 200 calls an hour (Meta, rate limits)."""
MOST_PAGES = 200
_INVALID_PARAMETER = 100
_UNKNOWN_FIELD = re.compile(r"nonexisting field \((\w+)\)")


class Reply(NamedTuple):
    """The nodes of an answer, what of the hour's allowance is used (percent), and how long Meta says to wait."""

    nodes: tuple[dict[str, Any], ...]
    used_percent: float = 0
    regain_s: float | None = None


class Graph:
    """A part that calls `{url}/{version}/…`. A field that this version of the API does not know is left out from then on."""

    def __init__(self, url: str, version: str, *, timeout_s: float, connect_timeout_s: float) -> None:
        self._calls = GraphCalls(url, version, timeout_s=timeout_s, connect_timeout_s=connect_timeout_s)
        self._unknown: set[tuple[str, str]] = set()
        """Edge (empty for the account itself) and field: what one kind of node lacks, another may have."""

    async def start(self) -> None:
        await self._calls.start()

    async def stop(self) -> None:
        await self._calls.stop()

    async def account(self, waba_id: str, fields: Iterable[str], credentials: Credentials) -> Reply:
        """The account itself, as one node. Raises GraphFailure."""
        answer, used = await self._get(waba_id, fields, credentials)
        return Reply((answer,), _percent(used), _regain_s(used))

    async def numbers(self, waba_id: str, fields: Iterable[str], credentials: Credentials) -> Reply:
        """All its numbers. Raises GraphFailure."""
        return await self._list(f"{waba_id}/phone_numbers", fields, credentials)

    async def templates(self, waba_id: str, fields: Iterable[str], credentials: Credentials) -> Reply:
        """All its templates. Raises GraphFailure."""
        return await self._list(f"{waba_id}/message_templates", fields, credentials)

    async def submit(
        self, waba_id: str, template: Mapping[str, Any], credentials: Credentials
    ) -> dict[str, Any]:
        """Submit a template for review: Meta's `id`, `status` and `category`. Raises GraphFailure."""
        return (await self._call("POST", f"{waba_id}/message_templates", credentials, body=template))[0]

    async def delete(
        self, waba_id: str, name: str, template_id: str | None, credentials: Credentials
    ) -> None:
        """Delete a template in all languages, or in the one of `template_id`. Raises GraphFailure."""
        query = {"name": name} | ({"hsm_id": template_id} if template_id else {})
        await self._call("DELETE", f"{waba_id}/message_templates", credentials, query=query)

    async def number_call(
        self, number_id: str, what: str, body: Mapping[str, Any], credentials: Credentials
    ) -> None:
        """`request_code`, `verify_code` or `register` of a number. Raises GraphFailure."""
        await self._call("POST", f"{number_id}/{what}", credentials, body=body)

    async def _list(self, path: str, fields: Iterable[str], credentials: Credentials) -> Reply:
        """Every page, or none: half a list would make the rest look deleted."""
        nodes: list[dict[str, Any]] = []
        used, after = 0.0, None
        for _ in range(MOST_PAGES):
            query = {"limit": str(PAGE)} | ({"after": after} if after else {})
            answer, said = await self._get(path, fields, credentials, query)
            data, paging = answer.get("data"), answer.get("paging")
            if not isinstance(data, list):
                raise GraphUnavailable(f"{path}: a list without data")
            nodes += [node for node in data if isinstance(node, dict)]
            used = max(used, _percent(said))
            if not isinstance(paging, dict) or "next" not in paging:
                return Reply(tuple(nodes), used, _regain_s(said))
            # The address itself in `next` is not followed: it bears the token.
            cursors = paging.get("cursors")
            last, after = after, cursors.get("after") if isinstance(cursors, dict) else None
            if not isinstance(after, str) or after == last:
                raise GraphUnavailable(f"{path}: a page without the cursor of the next one")
        raise GraphUnavailable(f"{path}: more than {MOST_PAGES} pages")

    async def _get(
        self,
        path: str,
        fields: Iterable[str],
        credentials: Credentials,
        query: Mapping[str, str] | None = None,
    ) -> tuple[dict[str, Any], Usage | None]:
        edge = path.partition("/")[2]
        wanted = [name for name in dict.fromkeys(fields) if (edge, name) not in self._unknown]
        while True:
            try:
                asked = {"fields": ",".join(wanted)} | dict(query or {})
                return await self._call("GET", path, credentials, query=asked)
            except GraphRefused as failure:
                found = _UNKNOWN_FIELD.search(failure.answer.text or "")
                if failure.answer.code != _INVALID_PARAMETER or not found or found[1] not in wanted:
                    raise
                log.warning("graph_field_unknown", edge=edge, field=found[1])
                self._unknown.add((edge, found[1]))
                wanted.remove(found[1])

    async def _call(
        self,
        method: str,
        path: str,
        credentials: Credentials,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> tuple[dict[str, Any], Usage | None]:
        _, answer, said = await self._calls.call(method, path, credentials, query=query, body=body)
        return answer, said


def _percent(used: Usage | None) -> float:
    """How much of the account's hourly allowance is used; 0 where Meta does not say."""
    return 0 if used is None or used.account_percent is None else used.account_percent


def _regain_s(used: Usage | None) -> float | None:
    return None if used is None else used.regain_s
