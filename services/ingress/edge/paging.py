"""The addresses of further pages in Meta's answers: they bear the access token, so callers get ours instead. Pure.

Source: Meta, Graph API, paging (`paging.next` and `previous` repeat the whole query, the token included).
"""

from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

SECRETS = frozenset({"access_token", "appsecret_proof"})
_PAGES = ("next", "previous", "first")


def without_secrets(answer: dict[str, Any], origin: str, path: str) -> dict[str, Any]:
    """The answer whose further pages are at `origin` + `path`, the rest as Meta sent it."""
    paging = answer.get("paging")
    if not isinstance(paging, dict):
        return answer
    pages = {name: _ours(paging[name], origin, path) for name in _PAGES if isinstance(paging.get(name), str)}
    return {**answer, "paging": {**paging, **pages}}


def _ours(url: str, origin: str, path: str) -> str:
    query = [(name, value) for name, value in parse_qsl(urlsplit(url).query) if name not in SECRETS]
    return f"{origin}{path}?{urlencode(query)}"
