"""Whether a webhook may be sent to an address: only to public ones. Pure."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""Where a translator reaches IPv4 by the last 32 bits (RFC 6052)."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address is anybody's on the internet: not private, loopback, link-local, multicast, reserved.

    An IPv6 address that stands for an IPv4 one (mapped, 6to4, Teredo, NAT64) is judged by that.
    """
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return False
        teredo = address.teredo
        within = address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo is not None else None)
        if address in _NAT64:
            within = IPv4Address(int(address) & 0xFFFF_FFFF)
        if within is not None:
            return is_public(within)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved
