"""Ports are free when promised, and an override that is no port is refused by name."""

import socket

import pytest

from deploy.local.errors import StackError
from deploy.local.ports import LOOPBACK, Ports, free_ports, is_free, require_free


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(map(is_free, ports))


def test_who_has_a_share_of_the_range_never_chooses_another_one_s_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WA_PORT_SHARE", "0/2")
    first = free_ports(20)
    monkeypatch.setenv("WA_PORT_SHARE", "1/2")
    assert {port % 2 for port in first}.isdisjoint(port % 2 for port in free_ports(20))


def test_a_port_somebody_listens_on_is_not_free() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_a_taken_port_is_named_with_its_override() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port} for Redis is taken.*WA_REDIS_PORT="):
            require_free(port, "Redis", "WA_REDIS_PORT")


def test_the_environment_overrides_one_port_and_leaves_the_others() -> None:
    assert Ports.fixed({"WA_KAFKA_PORT": "19092"}) == Ports(kafka=19_092)


def test_an_empty_override_means_the_default() -> None:
    assert Ports.fixed({"WA_REDIS_PORT": ""}) == Ports()


@pytest.mark.parametrize("text", ["0", "65536", "-1", "9092x", "nine"])
def test_an_override_that_is_no_port_is_refused_by_name(text: str) -> None:
    with pytest.raises(StackError, match="WA_KAFKA_PORT="):
        Ports.fixed({"WA_KAFKA_PORT": text})
