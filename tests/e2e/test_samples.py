"""The samples of docs/samples as their readers run them: in each language a request goes out once, and a reader tells each event once."""

import asyncio
import json
import os
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.local.demo.stage import Stage
from deploy.local.errors import StackError
from deploy.local.process import OwnedProcess
from deploy.local.services import APP_SECRET, VERIFY_TOKEN, urls
from deploy.local.system import LocalSystem
from services.console.steps import template_message
from tests.conftest import missing
from tests.e2e.samples import SAMPLES, Sample, ready
from tests.integration.processes import until

pytestmark = pytest.mark.timeout(400)  # the first time, Maven, npm and a wheel are fetched
LANGUAGES = ("python", "java", "node")
NAME, LANGUAGE = "order_update", "de"
TEMPLATE = f"{NAME}/{LANGUAGE}"
ON_A_BUSY_MACHINE_S = 90.0


class Reader:
    """A sample that reads: what it prints goes to a file; it can be killed and started again."""

    def __init__(self, sample: Sample, folder: Path, environ: Mapping[str, str]) -> None:
        self._output = folder / "output"
        self._environ = {**os.environ, **environ, "DATABASE": str(folder / "database")}
        self._sample = sample
        self._folder = folder
        self._process: OwnedProcess | None = None

    def start(self, group: str) -> None:
        environ = {**self._environ, "GROUP": group}
        self._process = OwnedProcess(
            self._sample.receive, log_path=self._output, env=environ, cwd=self._folder
        )
        self._process.spawn()

    async def stop(self) -> None:
        assert self._process is not None
        await self._process.stop()

    async def kill(self) -> None:
        assert self._process is not None
        await self._process.kill()

    def told(self, name: str) -> list[str]:
        """What it printed of a request or a message, without the name itself."""
        assert self._process is not None
        assert self._process.running, self._output.read_text()
        lines = self._output.read_text().splitlines()
        return [line.removeprefix(name).strip() for line in lines if line.startswith(name)]

    async def until_told(self, name: str, last: str) -> list[str]:
        await until(lambda: last in self.told(name), within_s=ON_A_BUSY_MACHINE_S)
        return self.told(name)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def samples() -> Mapping[str, Sample]:
    try:
        return await ready()
    except StackError as error:
        missing(str(error))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def readers(
    samples: Mapping[str, Sample], system: LocalSystem, stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mapping[str, Reader]]:
    """One of each language, reading from the beginning."""
    environ = {"WA_KAFKA_BOOTSTRAP": system.settings["WA_KAFKA_BOOTSTRAP"]}
    found = {name: Reader(samples[name], tmp_path_factory.mktemp(name), environ) for name in LANGUAGES}
    for name, reader in found.items():
        reader.start(f"sample-{name}")
    yield found
    await asyncio.gather(*(reader.stop() for reader in found.values()))


async def run(command: list[str], environ: Mapping[str, str]) -> tuple[int | None, str]:
    """The exit code and what was printed."""
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **environ}, stdout=PIPE, stderr=STDOUT
    )
    output = (await asyncio.wait_for(process.communicate(), ON_A_BUSY_MACHINE_S))[0].decode()
    return process.returncode, output


async def send(
    sample: Sample, system: LocalSystem, to: str, request_id: str, template: str, wait_s: float = 60
) -> tuple[int | None, str]:
    environ = {"WA_KAFKA_BOOTSTRAP": system.settings["WA_KAFKA_BOOTSTRAP"], "WAIT_S": str(wait_s)}
    return await run([*sample.send, to, request_id, template], environ)


def delivered(stage: Stage, request_id: str) -> bool | None:
    """True once it is; None before."""
    return bool(stage.business.of_request(request_id, "delivered")) or None


def receiver(language: str) -> str:
    """A customer of its own for each."""
    return f"+49151123457{LANGUAGES.index(language):02}"


async def test_a_request_of_each_language_goes_out_and_every_reader_tells_its_life_once(
    samples: Mapping[str, Sample],
    readers: Mapping[str, Reader],
    system: LocalSystem,
    stage: Stage,
) -> None:
    answers = await asyncio.gather(
        *(send(samples[name], system, receiver(name), f"sample-{name}-1", TEMPLATE) for name in LANGUAGES)
    )
    for name, (code, output) in zip(LANGUAGES, answers, strict=True):
        assert code == 0, output
        assert f"sample-{name}-1 decided allow ok" in output
        assert f"sample-{name}-1 accepted wamid." in output
    for reader in readers.values():
        for name in LANGUAGES:
            told = await reader.until_told(f"sample-{name}-1 ", "read")
            assert told == ["decided ok", "accepted", "sent", "delivered", "read"]


async def test_a_request_repeated_by_another_language_under_another_key_is_answered_again_and_sent_once(
    samples: Mapping[str, Sample], system: LocalSystem, stage: Stage
) -> None:
    async def repeated(name: str, by: str) -> tuple[int | None, str]:
        async with asyncio.timeout(ON_A_BUSY_MACHINE_S):
            while True:
                code, output = await send(
                    samples[by], system, receiver(name), f"sample-{name}-1", TEMPLATE, wait_s=2
                )
                if code != 2:  # not known yet: whoever reads its documentation runs it again
                    return code, output

    for name in LANGUAGES:
        # The business of the other tests takes the request id as key, and another partitioner.
        message = template_message(receiver(name), NAME, LANGUAGE, [])
        await stage.business.request({"request_id": f"sample-{name}-1", "message": message})
    pairs = zip(LANGUAGES, (*LANGUAGES[1:], LANGUAGES[0]), strict=True)
    for code, output in await asyncio.gather(*(repeated(name, by) for name, by in pairs)):
        assert (code, "decided allow ok" in output, "accepted" in output) == (0, True, False), output
    assert [await stage.simulator.calls_of(f"sample-{name}-1") for name in LANGUAGES] == [1, 1, 1]


async def test_a_refusal_is_told_with_its_reason_and_what_to_do(
    samples: Mapping[str, Sample], system: LocalSystem
) -> None:
    answers = await asyncio.gather(
        *(send(samples[name], system, receiver(name), f"sample-{name}-2", "draft/de") for name in LANGUAGES)
    )
    for code, output in answers:
        assert code == 1, output
        assert "decided reject template_not_approved" in output
        assert "Wait for the approval" in output


async def test_a_reader_that_was_killed_and_reads_all_anew_tells_nothing_twice(
    readers: Mapping[str, Reader], stage: Stage
) -> None:
    for name, reader in readers.items():
        await reader.kill()
        reader.start(f"sample-{name}-anew")  # a new group reads from the beginning; the progress is kept
    for name in LANGUAGES:
        message = template_message(receiver(name), NAME, LANGUAGE, [])
        await stage.business.request({"request_id": f"sample-{name}-3", "message": message})
    for reader in readers.values():
        for name in LANGUAGES:
            life = await reader.until_told(f"sample-{name}-3 ", "read")
            assert life == ["decided ok", "accepted", "sent", "delivered", "read"]
            # Of the same partition, so they were read again before.
            older = [line for line in reader.told(f"sample-{name}-1 ") if line != "decided ok"]
            assert older == ["accepted", "sent", "delivered", "read"]
            assert len(reader.told(f"sample-{name}-2 ")) == 1


async def test_a_webhook_that_curl_signs_reaches_the_readers_and_a_wrong_signature_does_not(
    readers: Mapping[str, Reader], system: LocalSystem, stage: Stage
) -> None:
    environ = {
        "INGRESS": urls(system.ports)["ingress"],
        "WA_APP_SECRET": APP_SECRET,
        "WA_VERIFY_TOKEN": VERIFY_TOKEN,
    }
    webhook = ["sh", str(SAMPLES / "curl" / "webhook.sh")]
    code, output = await run([*webhook, "forged"], {**environ, "WA_APP_SECRET": "wrong"})
    assert code == 22, output
    code, output = await run([*webhook, "Where is my parcel?"], environ)
    assert code == 0, output
    for reader in readers.values():
        told = await reader.until_told(output.strip(), ":received text Where is my parcel?")
        assert len(told) == 1
        assert not [line for line in reader.told("wamid.") if "forged" in line]


async def test_curl_sends_through_the_edge_once_and_is_told_why_not(
    system: LocalSystem, stage: Stage
) -> None:
    edge = urls(system.ports).get("edge")
    if edge is None:
        missing("the local stack has no edge")
    environ = {"EDGE": edge, "WA_EDGE_TOKEN": "local-edge-token"}

    async def curl(script: str, request_id: str, template: str) -> tuple[int | None, list[str]]:
        command = ["sh", str(SAMPLES / "curl" / script), "+4915112345799", request_id, template]
        code, output = await run(command, environ)
        return code, output.splitlines()

    code, (answer, state) = await curl("send.sh", "sample-curl-1", TEMPLATE)
    assert code == 0, answer
    assert json.loads(answer)["messages"][0]["id"]
    assert "sample-curl-1" in state
    code, (again, _) = await curl("send.sh", "sample-curl-1", TEMPLATE)
    assert (code, json.loads(again)["messages"]) == (0, json.loads(answer)["messages"])
    code, told = await curl("request.sh", "sample-curl-2", TEMPLATE)
    assert (code, "sample-curl-2" in told[0]) == (0, True), told
    code, told = await curl("send.sh", "sample-curl-3", "draft/de")
    assert (code, "template_not_approved" in " ".join(told)) == (22, True), told
    for request_id in ("sample-curl-1", "sample-curl-2"):
        await stage.business.until(
            partial(delivered, stage, request_id),
            f"delivery of {request_id}",
            ("ingress", "sender", "router"),
            within_s=ON_A_BUSY_MACHINE_S,
        )
        assert await stage.simulator.calls_of(request_id) == 1
