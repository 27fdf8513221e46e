"""No test reaches beyond this machine, by whatever way."""

import asyncio
import socket

import pytest


def test_a_connection_to_another_machine_is_refused() -> None:
    with pytest.raises(PermissionError, match=r"192\.0\.2\.1"), socket.socket() as connection:
        connection.connect(("192.0.2.1", 80))


async def test_a_connection_of_an_event_loop_is_refused() -> None:
    with pytest.raises(PermissionError):
        await asyncio.open_connection("192.0.2.1", 80)


def test_looking_up_a_name_is_refused() -> None:
    with pytest.raises(PermissionError, match=r"example\.invalid"):
        socket.getaddrinfo("example.invalid", 80)


def test_this_machine_is_allowed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        pass
