"""The Meta apps whose webhooks are taken, by path: their secrets and handshake tokens, from settings, a file or a folder; read anew while the service runs."""

import asyncio
import hmac
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import structlog
import yaml
from pydantic import BaseModel, ConfigDict, SecretStr, StringConstraints, ValidationError, model_validator

from services.ingress.settings import IngressSettings
from shared.lifecycle import Service

log = structlog.get_logger(__name__)

PATH = "/webhooks"
DEFAULT = "default"
"""The app of the path without a name."""
_READ_EVERY_S = 2.0
"""A rotated secret counts after so long at the latest."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_SECRET, _PREVIOUS, _TOKEN = "app-secret", "app-secret-previous", "verify-token"


class AppsUnreadable(ValueError):
    """The apps can't be read; the text says where and why, and holds no secret."""


class Signature:
    """Checks one body's signature. What comes in pieces is hashed piece by piece, so that 3 MB, which take 10 ms, hold up nobody.

    Source: Meta, webhooks, getting started: `X-Hub-Signature-256`, HMAC-SHA256 of the body as it came under the app's secret.
    """

    __slots__ = ("_codes", "_secrets")

    def __init__(self, secrets: tuple[bytes, ...]) -> None:
        self._secrets = secrets
        self._codes: list[hmac.HMAC] = []

    def update(self, piece: bytes) -> None:
        """The next piece has come."""
        if not self._codes:
            self._codes = [hmac.new(secret, digestmod="sha256") for secret in self._secrets]
        for code in self._codes:
            code.update(piece)

    def matches(self, header: str | None, body: bytes) -> bool:
        """Whether any of the secrets signed exactly these bytes, of which all pieces have been seen, or none; compared as bytes, so any header is only a wrong one."""
        given = (header or "").encode(errors="surrogateescape")
        digests = [code.digest() for code in self._codes] or [
            hmac.digest(secret, body, "sha256") for secret in self._secrets
        ]
        matches = [hmac.compare_digest(given, b"sha256=" + digest.hex().encode()) for digest in digests]
        return any(matches)


@dataclass(frozen=True, slots=True)
class App:
    """One Meta app: the secrets it may sign with, the current one first, and the token that Meta repeats when the webhook is set up."""

    name: str
    secrets: tuple[bytes, ...] = field(repr=False)
    token: bytes = field(repr=False)

    def signature(self) -> Signature:
        """To check the signature of one body."""
        return Signature(self.secrets)

    def greeted(self, token: str) -> bool:
        """Whether a handshake gives this app's token."""
        return hmac.compare_digest(token.encode(errors="surrogateescape"), self.token)


class Apps:
    """A part that knows the app of each path and reads all anew every two seconds.

    What can't be read leaves the apps as they were, with a line in the log: a half-written file must not shut the door.
    """

    def __init__(self, service: Service, read: Callable[[], Mapping[str, App]]) -> None:
        self._service = service
        self._read = read
        self._failure = ""
        self._apps: Mapping[str, App] = {}
        self._by_path: dict[str, App] = {}

    def at(self, path: str) -> App | None:
        """The app whose webhooks come to `path`."""
        return self._by_path.get(path)

    async def start(self) -> None:
        """Read them.

        Raises:
            AppsUnreadable: they can't be read.
        """
        self._take(await asyncio.to_thread(self._read))
        log.info("apps_read", apps=sorted(self._apps))
        self._service.spawn(self._watch(), "apps")

    async def stop(self) -> None:
        """Nothing to stop."""

    async def reread(self) -> None:
        """Take what has changed; says so once, and once what can't be read."""
        try:
            apps = await asyncio.to_thread(self._read)
        except AppsUnreadable as error:
            if str(error) != self._failure:
                log.error("apps_not_reread", error=str(error))
            self._failure = str(error)
            return
        self._failure = ""
        if apps != self._apps:
            changed = {name for name in apps.keys() | self._apps if apps.get(name) != self._apps.get(name)}
            self._take(apps)
            log.info("apps_changed", apps=sorted(changed))

    def _take(self, apps: Mapping[str, App]) -> None:
        self._apps = apps
        self._by_path = {f"{PATH}/{name}": app for name, app in apps.items()}
        if DEFAULT in apps:
            self._by_path[PATH] = apps[DEFAULT]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_READ_EVERY_S)
            await self.reread()


def read_apps(settings: IngressSettings, environ: Mapping[str, str] = os.environ) -> dict[str, App]:
    """All apps that the settings name, by name.

    Raises:
        AppsUnreadable: one lacks what it needs, is named twice or names what can't be read; or there is none at all.
    """
    found: dict[str, App] = {}
    for app in _all(settings, environ):
        if app.name in found:
            raise AppsUnreadable(f"app {app.name}: named twice")
        found[app.name] = app
    if not found:
        raise AppsUnreadable("no app: set WA_APP_SECRET and WA_VERIFY_TOKEN, WA_APPS_FILE or WA_APPS_DIR")
    return found


def _all(settings: IngressSettings, environ: Mapping[str, str]) -> Iterator[App]:
    if settings.app_secret is not None or settings.app_secret_file is not None:
        yield App(
            DEFAULT,
            _secrets(
                _setting("WA_APP_SECRET", settings.app_secret, settings.app_secret_file),
                _setting("WA_APP_SECRET_PREVIOUS", settings.app_secret_previous, settings.app_secret_previous_file),
            ),
            _needed("WA_VERIFY_TOKEN", _setting("WA_VERIFY_TOKEN", settings.verify_token, settings.verify_token_file)),
        )  # fmt: skip
    if settings.apps_file is not None:
        yield from _in_file(settings.apps_file, environ)
    if settings.apps_dir is not None:
        yield from _in_folder(settings.apps_dir)


class _Reference(BaseModel):
    """Where a secret stands: in a file (relative to the apps file) or in an environment variable."""

    model_config = ConfigDict(extra="forbid")

    file: Path | None = None
    env: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "_Reference":
        if (self.file is None) == (self.env is None):
            raise ValueError("name either a file or an env")
        return self

    def read(self, place: str, folder: Path, environ: Mapping[str, str]) -> bytes:
        """The secret."""
        if self.file is not None:
            return _text(place, folder / self.file)
        name = self.env or ""
        if name not in environ:
            raise AppsUnreadable(f"{place}: the environment has no {name}")
        return _filled(place, environ[name])


class _Listed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    secret: _Reference
    secret_previous: _Reference | None = None
    verify_token: _Reference


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    apps: dict[Annotated[str, StringConstraints(pattern=rf"^{_NAME.pattern}$")], _Listed]


def _in_file(path: Path, environ: Mapping[str, str]) -> Iterator[App]:
    """The apps of `WA_APPS_FILE`: `apps: {<name>: {secret: {file: …}, secret_previous: {env: …}, verify_token: …}}`."""
    try:
        written: Any = yaml.safe_load(path.read_text("utf-8"))
        listed = _File.model_validate(written).apps
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise AppsUnreadable(f"{path}: {_cause(error)}") from None
    except ValidationError as error:
        places = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise AppsUnreadable(f"{path}: {'; '.join(places)}") from None
    for name, app in listed.items():
        place = f"{path}: apps.{name}"
        read = [
            None if reference is None else reference.read(f"{place}.{what}", path.parent, environ)
            for what, reference in (
                ("secret", app.secret), ("secret_previous", app.secret_previous), ("verify_token", app.verify_token),
            )
        ]  # fmt: skip
        yield App(name, _secrets(read[0], read[1]), read[2] or b"")


def _in_folder(folder: Path) -> Iterator[App]:
    """The apps of `WA_APPS_DIR`: a folder each, as Kubernetes mounts secrets, whose own entries begin with `..`."""
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise AppsUnreadable(f"{folder}: {_cause(error)}") from None
    for entry in entries:
        if not _NAME.fullmatch(entry.name) or not entry.is_dir():
            raise AppsUnreadable(f"{entry}: no folder of an app: its name should match {_NAME.pattern}")
        previous = entry / _PREVIOUS
        yield App(
            entry.name,
            _secrets(
                _text(str(entry / _SECRET), entry / _SECRET),
                _text(str(previous), previous) if previous.exists() else None,
            ),
            _text(str(entry / _TOKEN), entry / _TOKEN),
        )


def _setting(name: str, value: SecretStr | None, file: Path | None) -> bytes | None:
    if value is not None:
        return _filled(name, value.get_secret_value())
    return None if file is None else _text(f"{name}_FILE", file)


def _text(place: str, file: Path) -> bytes:
    try:
        return _filled(place, file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise AppsUnreadable(f"{place}: {_cause(error)}") from None


def _filled(place: str, text: str) -> bytes:
    secret = text.strip().encode()
    if not secret:
        raise AppsUnreadable(f"{place}: is empty")
    return secret


def _needed(place: str, secret: bytes | None) -> bytes:
    if secret is None:
        raise AppsUnreadable(f"{place} is needed")
    return secret


def _secrets(*secrets: bytes | None) -> tuple[bytes, ...]:
    return tuple(secret for secret in secrets if secret is not None)


def _cause(error: OSError | UnicodeDecodeError | yaml.YAMLError) -> str:
    """What went wrong, without the text it went wrong in."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    mark = getattr(error, "problem_mark", None)
    return f"no YAML, line {mark.line + 1}" if mark is not None else type(error).__name__
