"""A real Redis for one machine, durable as production's: append-only file, no eviction."""

import asyncio
from pathlib import Path
from typing import Final, Literal

from deploy.local import install
from deploy.local.ports import LOOPBACK
from deploy.local.process import OwnedProcess, until_ready

Appendfsync = Literal["always", "everysec", "no"]


class Redis:
    """One Redis server with its data in `data_dir`; a restart keeps the data and the port."""

    def __init__(self, directory: Path, *, port: int, appendfsync: Appendfsync = "everysec") -> None:
        """Keeps the settings; `appendfsync` says what a power cut may cost: nothing, a second, or more."""
        self.url = f"redis://{LOOPBACK}:{port}/0"
        self.data_dir = directory / "redis"
        self._port = port
        self._appendfsync = appendfsync
        self._process = OwnedProcess([], log_path=directory / "redis.log")

    name: Final = "redis"

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process.running

    @property
    def log_path(self) -> Path:
        """The server's log."""
        return self._process.log_path

    async def start(self) -> None:
        """Starts the server and returns when it has read its data and answers.

        Raises:
            StackError: there is no server to run, or it did not get ready; the text says what.
        """
        server = await asyncio.to_thread(install.redis_server)
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._process.argv = [str(server), *self._options()]
        self._process.spawn()
        await until_ready(self._process, self._answers, what="Redis", timeout_s=30.0)

    async def stop(self) -> None:
        """Shuts the server down, its data written; does nothing when it does not run."""
        await self._process.stop(grace_s=10.0)

    async def kill(self) -> None:
        """SIGKILLs the server."""
        await self._process.kill()

    def _options(self) -> list[str]:
        options = {
            "port": str(self._port),
            "bind": LOOPBACK,
            "dir": str(self.data_dir),
            "appendonly": "yes",
            "appendfsync": self._appendfsync,
            "maxmemory": "1gb",
            "maxmemory-policy": "noeviction",
            # The append-only file is the one copy; snapshots would only add forks.
            "save": "",
            "daemonize": "no",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    async def _answers(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection(LOOPBACK, self._port)
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            async with asyncio.timeout(2.0):
                return await reader.readline() == b"+PONG\r\n"
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()
