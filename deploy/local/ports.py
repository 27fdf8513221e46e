"""TCP ports of the local stack: the fixed ones of `make up`, and free ones for tests and the demo."""

import os
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from deploy.local.errors import StackError

LOOPBACK: Final = "127.0.0.1"
_EPHEMERAL_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST: Final = 12_000


@dataclass(frozen=True)
class Ports:
    """Ports of one broker and one Redis; the controller's is used by the broker alone."""

    kafka: int = 9092
    kafka_controller: int = 9093
    redis: int = 6379

    @classmethod
    def free(cls) -> Self:
        """Chooses ports nobody listens on now."""
        return cls(*free_ports(3))

    @classmethod
    def fixed(cls, environ: Mapping[str, str] = os.environ) -> Self:
        """Takes the default ports, each overridable by `WA_KAFKA_PORT`, `WA_KAFKA_CONTROLLER_PORT`, `WA_REDIS_PORT`."""
        return cls(
            kafka=port_from(environ, "WA_KAFKA_PORT", cls.kafka),
            kafka_controller=port_from(environ, "WA_KAFKA_CONTROLLER_PORT", cls.kafka_controller),
            redis=port_from(environ, "WA_REDIS_PORT", cls.redis),
        )


def port_from(environ: Mapping[str, str], variable: str, default: int) -> int:
    """Reads a port from `variable`, or gives `default`.

    Raises:
        StackError: the value is no port number.
    """
    text = environ.get(variable, "")
    if not text:
        return default
    if not text.isdigit() or not 0 < int(text) < 65_536:
        raise StackError(f"{variable}={text} is not a port number (1-65535)")
    return int(text)


def free_ports(count: int) -> list[int]:
    """Chooses `count` different ports nobody listens on.

    They lie below the kernel's ephemeral range, so that no outgoing connection of another process takes one while its
    server restarts. Nobody holds a port before its server listens: processes that choose at the same time are each given a
    share of the range, `WA_PORT_SHARE=<n>/<of>` with n from 0, and then never choose the same one.
    """
    highest = 32_768
    if _EPHEMERAL_RANGE.exists():
        highest = int(_EPHEMERAL_RANGE.read_text().split()[0])
    nth, of = map(int, os.environ.get("WA_PORT_SHARE", "0/1").split("/"))
    ours = range(_LOWEST, max(highest, _LOWEST + 10_000))[nth::of]
    candidates = random.sample(ours, k=min(200, len(ours)))
    ports = [port for _, port in zip(range(count), filter(is_free, candidates), strict=False)]
    if len(ports) < count:
        raise StackError(f"found no {count} free TCP ports on {LOOPBACK}")
    return ports


def is_free(port: int) -> bool:
    """Tells whether a server could listen on `port` of the loopback address."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def require_free(port: int, what: str, variable: str) -> None:
    """Refuses a taken port, naming it and how to choose another.

    Raises:
        StackError: somebody listens on `port`.
    """
    if not is_free(port):
        raise StackError(f"port {port} for {what} is taken; free it or choose another with {variable}=<port>")
