"""Where files may be fetched from: a link in, whether it leads to Meta and whether the token may go along. Pure.

A link comes with a message that anybody may have written, so it is followed only to Meta's own hosts, and to none of a private network.
Source: Meta, Cloud API, media (lookaside.fbsbx.com); Meta, Messenger Platform and Instagram Platform, attachments (fbcdn.net, cdninstagram.com).
"""

from ipaddress import ip_address
from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

_BEARING: Final = ("fbsbx.com", "facebook.com", "whatsapp.net")
"""Hosts, and all below them, that ask for the token."""
_OPEN: Final = ("fbcdn.net", "cdninstagram.com", "instagram.com")
"""Hosts whose links carry their own permission: the token is nobody's business there."""


class Address(NamedTuple):
    """A link that may be followed."""

    url: str
    token: bool
    """Whether the token may go along."""


def address(url: str, graph_url: str) -> Address | None:
    """The link as it may be followed, or None. Besides Meta's hosts over TLS, the Graph API's own origin as configured will do (a local stack's)."""
    found, graph = _split(url), _split(graph_url)
    if found is None or found.username is not None or found.password is not None:
        return None
    if graph is not None and _origin(found) == _origin(graph):
        return Address(url, True)
    if found.scheme != "https" or found.port not in (None, 443):
        return None
    host = (found.hostname or "").rstrip(".")
    if _below(host, _BEARING):
        return Address(url, True)
    return Address(url, False) if _below(host, _OPEN) else None


def is_public(ip: str) -> bool:
    """Whether an address is one of the open internet; False for what is no address."""
    try:
        found = ip_address(ip.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return bool((mapped or found).is_global) and not found.is_multicast


def host_of(url: str) -> str | None:
    """The host that a URL names, in lower case."""
    found = _split(url)
    return None if found is None else found.hostname


def _split(url: str) -> SplitResult | None:
    try:
        found = urlsplit(url)
        _ = found.port
    except ValueError:
        return None
    return found if found.hostname and not any(c.isspace() or c == "\\" for c in url) else None


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"https": 443, "http": 80}.get(url.scheme)


def _below(host: str, domains: tuple[str, ...]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)
