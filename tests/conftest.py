"""What every test gets: the network guard, a mark by folder; and, on demand, a real Kafka and Redis with names of its own."""

import ipaddress
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn
from urllib.parse import urlsplit

import hypothesis
import pytest
import pytest_asyncio

from deploy.local.stack import LocalStack, StackError

_TESTS: Final = Path(__file__).parent
_KINDS: Final = ("unit", "histories", "contract", "integration", "e2e", "chaos")
IN_CI: Final = os.environ.get("CI", "").lower() in {"1", "true", "yes"}

# A shell's background job ignores Ctrl-C, and so would every process that a test starts to interrupt it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests that run side by side start their servers on different ports, and so do their processes.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    os.environ["WA_PORT_SHARE"] = f"{worker.removeprefix('gw')}/{os.environ['PYTEST_XDIST_WORKER_COUNT']}"

# On a developer's machine hypothesis looks for new examples each time; what must pass to land does not depend on luck.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("developer", deadline=None)
hypothesis.settings.register_profile("quick", deadline=None, max_examples=10)
hypothesis.settings.load_profile("ci" if IN_CI else "developer")


@dataclass(frozen=True)
class Prefix:
    """Names that no other test uses: on the one Kafka and Redis of the run, tests do not see each other."""

    topics: str
    redis: str

    @property
    def env(self) -> dict[str, str]:
        """The settings of a service that uses these names."""
        return {"WA_TOPIC_PREFIX": self.topics, "WA_REDIS_NAMESPACE": self.redis}


def missing(reason: str) -> NoReturn:
    """Says that something the test needs is not here: skips on a developer's machine, fails in CI."""
    if IN_CI:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stack() -> AsyncIterator[LocalStack]:
    """A running Kafka and Redis, one for the whole run."""
    running = LocalStack(name="pytest")
    try:
        await running.start()
    except StackError as error:
        missing(str(error))
    yield running
    await running.stop()


@pytest.fixture
def prefix() -> Prefix:
    """Fresh names for topics, groups and Redis keys."""
    name = uuid.uuid4().hex[:10]
    return Prefix(topics=f"t{name}.", redis=f"t{name}")


@pytest.fixture(autouse=True, scope="session")
def only_loopback() -> Iterator[None]:
    """Refuses connections that leave this machine, in whatever library they begin."""
    _guard.active = True
    yield
    _guard.active = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test by the folder it lies in."""
    for item in items:
        parts = item.path.relative_to(_TESTS).parts
        if parts[0] in _KINDS:
            item.add_marker(parts[0])


class _NetworkGuard:
    """An audit hook, for no library can go round it; hooks stay for the process's life, hence the switch."""

    def __init__(self) -> None:
        self.active = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "socket.connect":
            connection, address = arguments
            if connection.family in (socket.AF_INET, socket.AF_INET6) and not _is_local(str(address[0])):
                raise PermissionError(
                    f"a test tried to connect to {address[0]}; only this machine is allowed"
                )
        elif event == "socket.getaddrinfo" and not _is_local(str(arguments[0] or "localhost")):
            raise PermissionError(f"a test tried to look up {arguments[0]}; only this machine is allowed")


def _is_local(host: str) -> bool:
    if host == "localhost" or host in _allowed:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _named_by_environment() -> frozenset[str]:
    """Hosts of a Kafka and a Redis that the environment names, and their addresses."""
    bootstrap = os.environ.get("WA_KAFKA_BOOTSTRAP", "")
    hosts = {server.rpartition(":")[0] for server in bootstrap.split(",")}
    hosts |= {urlsplit(os.environ.get("WA_REDIS_URL", "")).hostname or ""}
    hosts -= {""}
    return frozenset(hosts | {str(found[4][0]) for host in hosts for found in socket.getaddrinfo(host, None)})


_allowed: Final = _named_by_environment()
_guard: Final = _NetworkGuard()
sys.addaudithook(_guard)
