"""The channels of all endpoints of the file: started, stopped and made anew as the file says."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from services.push.channel import Channel
from services.push.control import Control
from services.push.endpoints import Endpoint, EndpointsInvalid, parse
from services.push.http import HttpClient
from services.push.secrets import Secrets
from services.push.settings import PushSettings
from services.push.standing import EndpointSwitched, Word
from shared.lifecycle import Service
from shared.metrics import PUSH_FILE_VALID

log = structlog.get_logger(__name__)


class Channels:
    """A part: one channel per endpoint. A changed endpoint's channel ends and another goes on where it stopped; the others notice nothing."""

    def __init__(
        self,
        service: Service,
        settings: PushSettings,
        control: Control,
        secrets: Secrets,
        display_number: Callable[[str], str],
    ) -> None:
        self._service = service
        self._settings = settings
        self._control = control
        self._secrets = secrets
        self._display_number = display_number
        self._running: dict[str, tuple[Channel, asyncio.Task[None]]] = {}
        self._seen: tuple[int, ...] | None = None
        self._watching: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether each channel has been given its share of the topics."""
        return all(channel.assigned for channel, _ in self._running.values())

    async def start(self) -> None:
        """Start all endpoints of the file.

        Raises:
            EndpointsInvalid: the file can't be used; later, the endpoints of before go on instead.
        """
        self._control.on_word = self._heard
        file = self._settings.push_endpoints_file
        if file is None:
            log.warning("push_without_endpoints", setting="WA_PUSH_ENDPOINTS_FILE")
            PUSH_FILE_VALID.set(1)
            return
        self._seen = _state_of(file)
        await self._apply(self._read(file))
        PUSH_FILE_VALID.set(1)
        self._watching = self._service.spawn(self._watch(file), "push-endpoints")

    async def stop(self) -> None:
        """Let all finish what is under way."""
        if self._watching is not None:
            self._watching.cancel()
        await self._end(list(self._running))

    def _read(self, file: Path) -> tuple[Endpoint, ...]:
        try:
            text = file.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise EndpointsInvalid([f"{file}: {type(error).__name__}"]) from None
        return parse(text, allow_private=self._settings.push_allow_private)

    async def _watch(self, file: Path) -> None:
        while True:
            await asyncio.sleep(self._settings.push_reload_s)
            state = _state_of(file)
            if state == self._seen:
                continue
            self._seen = state
            try:
                endpoints = self._read(file)
            except EndpointsInvalid as error:
                PUSH_FILE_VALID.set(0)
                log.error("push_endpoints_invalid", problems=error.problems)
                continue
            await self._apply(endpoints)
            PUSH_FILE_VALID.set(1)

    async def _apply(self, endpoints: tuple[Endpoint, ...]) -> None:
        wanted = {endpoint.name: endpoint for endpoint in endpoints}
        stale = [name for name, (channel, _) in self._running.items() if wanted.get(name) != channel.endpoint]
        await self._end(stale)
        new = [endpoint for name, endpoint in wanted.items() if name not in self._running]
        for endpoint in new:
            self._begin(endpoint)
        log.info("push_endpoints", endpoints=len(wanted), ended=stale, begun=[e.name for e in new])

    def _begin(self, endpoint: Endpoint) -> None:
        http = HttpClient(
            endpoint.url,
            connections=endpoint.concurrency,
            timeout_s=endpoint.timeout_s,
            allow_private=self._settings.push_allow_private,
        )
        channel = Channel(
            endpoint,
            self._settings,
            self._control,
            self._secrets,
            self._display_number,
            http,
            self._service.fail,
        )
        task = self._service.spawn(channel.run(), f"push-{endpoint.name}")
        self._running[endpoint.name] = channel, task

    async def _end(self, names: list[str]) -> None:
        ended = [self._running.pop(name) for name in names]
        for channel, _ in ended:
            channel.stop()
        if ended:
            await asyncio.wait([task for _, task in ended])

    def _heard(self, word: Word) -> None:
        if isinstance(word, EndpointSwitched) and word.endpoint in self._running:
            self._running[word.endpoint][0].heard(word)


def _state_of(file: Path) -> tuple[int, ...] | None:
    """What tells a changed file; None while there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
