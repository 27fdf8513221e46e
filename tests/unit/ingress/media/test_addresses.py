"""Where files may be fetched from, and where the token may go."""

import pytest

from services.ingress.media.addresses import address, is_public

GRAPH = "https://graph.facebook.com"


@pytest.mark.parametrize(
    "url",
    [
        "https://lookaside.fbsbx.com/whatsapp_business/attachments/?mid=1&ext=2&hash=x",
        "https://graph.facebook.com/v23.0/1",
        "https://mmg.whatsapp.net/d/f/x.enc",
    ],
)
def test_metas_own_hosts_get_the_token(url: str) -> None:
    found = address(url, GRAPH)
    assert found is not None
    assert found.token


def test_the_open_networks_of_pictures_do_not() -> None:
    found = address("https://scontent.xx.fbcdn.net/v/t1.jpg", GRAPH)
    assert found is not None
    assert not found.token


@pytest.mark.parametrize(
    "url",
    [
        "http://lookaside.fbsbx.com/1",
        "https://lookaside.fbsbx.com:8443/1",
        "https://fbsbx.com.example.org/1",
        "https://evilfbsbx.com/1",
        "https://lookaside.fbsbx.com@example.org/1",
        "https://user:pw@lookaside.fbsbx.com/1",
        "https://127.0.0.1/1",
        "https://[::1]/1",
        "https://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "https://example.org\\@lookaside.fbsbx.com/",
        "https://lookaside.fbsbx.com:99999/",
        "https://",
        "",
        "//lookaside.fbsbx.com/1",
    ],
)
def test_nobody_else_is_asked(url: str) -> None:
    assert address(url, GRAPH) is None


def test_the_graph_api_of_a_local_stack_is_trusted_at_its_own_origin_only() -> None:
    local = "http://127.0.0.1:8070"
    assert address("http://127.0.0.1:8070/whatsapp_business/attachments/?mid=1", local) is not None
    assert address("http://127.0.0.1:8071/1", local) is None
    assert address("http://127.0.0.2:8070/1", local) is None
    assert address("https://127.0.0.1:8070/1", local) is None


@pytest.mark.parametrize(
    ("ip", "public"),
    [
        ("157.240.1.1", True),
        ("2a03:2880::1", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("no address", False),
    ],
)
def test_addresses_of_private_networks_are_none(ip: str, public: bool) -> None:
    assert is_public(ip) is public
