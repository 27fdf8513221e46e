"""The endpoints file: YAML text in, endpoints out, or all that is wrong with it and where. Pure.

`config/push.example.yaml` shows every field.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from services.push.addresses import is_public
from services.push.kinds import NAMES, Event, matches, topics_of
from services.push.meta_format import KINDS as META_KINDS
from shared.topics import Topic

MOST_ENDPOINTS = 100
"""Each is a consumer of its own, and a value of metric labels."""
_NAME = r"^[a-z0-9][a-z0-9-]{0,39}$"


class EndpointsInvalid(ValueError):
    """The file can't be used; `problems` say where and why."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SecretRef(_Strict):
    """Where a secret stands: a file, read anew when it changes, or a variable of the environment."""

    file: Path | None = None
    env: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _one(self) -> "SecretRef":
        if (self.file is None) == (self.env is None):
            raise ValueError("is `file: PATH` or `env: NAME`")
        return self

    def __str__(self) -> str:
        return f"file {self.file}" if self.file is not None else f"variable {self.env}"


class Endpoint(_Strict):
    """One receiver: where, with which secrets, what it is told, how it is treated."""

    name: str = Field(pattern=_NAME)
    url: str
    secrets: tuple[SecretRef, ...] = Field(min_length=1, max_length=2)
    """Two while a secret is rotated: both sign, or (meta) the first does."""
    format: Literal["events", "meta"] = "events"
    events: tuple[str, ...] = Field(min_length=1)
    accounts: tuple[str, ...] = ()
    """`waba_id`s; none: of all accounts."""
    numbers: tuple[str, ...] = ()
    """`phone_number_id`s; none: of all numbers, and what concerns no number."""
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0
    concurrency: Annotated[int, Field(ge=1, le=500)] = 10
    batch: Annotated[int, Field(ge=1, le=1000)] = 1
    give_up_hours: Annotated[float, Field(gt=0, le=24 * 30)] = 72.0
    start: Literal["now", "beginning"] = "now"
    """Where a new endpoint begins."""
    verify_token: SecretRef | None = None
    """For Meta's handshake (`wam push verify`)."""

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError as error:
            raise ValueError(f"is no URL: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is no http(s) URL with a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("must hold no user and password")
        if parts.fragment or re.search(r"\s", url):
            raise ValueError("must hold no fragment and no spaces")
        return url

    @field_validator("events")
    @classmethod
    def _are_known(cls, events: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in events:
            if not any(matches(pattern, name) for name in NAMES):
                raise ValueError(f"{pattern!r} fits no event; there are {', '.join(NAMES)}")
        return events

    @model_validator(mode="after")
    def _fits_format(self) -> "Endpoint":
        if self.format == "meta":
            if foreign := [p for p in self.events if not any(matches(p, name) for name in META_KINDS)]:
                raise ValueError(
                    f"events {', '.join(foreign)} have no form of Meta's; there are {', '.join(META_KINDS)}"
                )
            if self.batch != 1:
                raise ValueError(
                    "batch is for format: events; what is written for Meta may read the first entry only"
                )
        elif self.verify_token is not None:
            raise ValueError("verify_token is for format: meta")
        return self

    @property
    def topics(self) -> tuple[Topic, ...]:
        """The public topics that hold anything for it."""
        kinds = [
            name
            for name in (META_KINDS if self.format == "meta" else NAMES)
            if any(matches(p, name) for p in self.events)
        ]
        return topics_of(kinds)

    @property
    def give_up_ms(self) -> int:
        """How long an event is tried, in milliseconds."""
        return round(self.give_up_hours * 3_600_000)

    def wants(self, event: Event) -> bool:
        """Whether it is told this event."""
        if self.format == "meta" and event.kind not in META_KINDS:
            return False
        if self.accounts and event.head.waba_id not in self.accounts:
            return False
        if self.numbers and event.head.phone_number_id not in self.numbers:
            return False
        return any(matches(pattern, event.kind) for pattern in self.events)


class _File(_Strict):
    endpoints: tuple[Endpoint, ...] = ()


def parse(text: str, *, allow_private: bool) -> tuple[Endpoint, ...]:
    """The endpoints of a file.

    Args:
        text: YAML.
        allow_private: whether http and addresses that are not public may be named (local stacks).

    Raises:
        EndpointsInvalid: with every problem found.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise EndpointsInvalid([f"not YAML: {str(error).splitlines()[0]}"]) from None
    try:
        found = _File.model_validate(document or {}).endpoints
    except ValidationError as error:
        raise EndpointsInvalid(
            [_problem(document, problem["loc"], problem["msg"]) for problem in error.errors()]
        ) from None
    problems = [] if len(found) <= MOST_ENDPOINTS else [f"more than {MOST_ENDPOINTS} endpoints"]
    names = Counter(endpoint.name for endpoint in found)
    problems += [f"{name}: the name is given {times} times" for name, times in names.items() if times > 1]
    if not allow_private:
        problems += [f"{e.name}.url: {why}" for e in found if (why := _unsafe(urlsplit(e.url)))]
    if problems:
        raise EndpointsInvalid(problems)
    return found


def _unsafe(url: SplitResult) -> str | None:
    """Why a URL may not be called; a name's address is looked at when it is connected to."""
    if url.scheme != "https":
        return "must be https"
    host = url.hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "is this machine" if host == "localhost" or host.endswith(".localhost") else None
    return None if is_public(address) else f"{host} is no public address"


def _problem(document: Any, place: tuple[int | str, ...], message: str) -> str:
    """One problem with its place, by the endpoint's name where it has one: `shop.secrets.0: …`."""
    words = [str(part) for part in place]
    if len(place) > 1 and place[0] == "endpoints" and isinstance(place[1], int):
        try:
            words[:2] = [str(document["endpoints"][place[1]]["name"])]
        except (KeyError, IndexError, TypeError):
            words[:2] = [f"endpoints.{place[1]}"]
    return f"{'.'.join(words) or 'the file'}: {message.removeprefix('Value error, ')}"
