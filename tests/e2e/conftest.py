"""One whole system for these tests, with a Kafka that they may stop.

It stays what it is for whoever comes next: a test that changes an account brings one of its own.
"""

from collections.abc import AsyncIterator, Mapping

import pytest_asyncio

from deploy.local.demo.stage import Stage
from deploy.local.services import urls
from deploy.local.stack import LocalStack, StackError
from deploy.local.system import LocalSystem
from deploy.local.topics import create_topics
from shared.clock import FileClock
from shared.settings import ServiceSettings
from tests.conftest import missing


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def system() -> AsyncIterator[LocalSystem]:
    """Kafka, Redis and all services, with a clock that can be moved."""

    async def prepare(settings: Mapping[str, str]) -> None:
        FileClock(settings["WA_CLOCK_FILE"]).close()
        await create_topics(settings)

    stack = LocalStack(name="e2e", appendfsync="always", environ={})
    try:
        await stack.start()
    except StackError as error:
        missing(str(error))
    try:
        async with LocalSystem(stack, prepare, own_stack=False, ready_within_s=120) as whole:
            yield whole
    finally:
        await stack.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def stage(system: LocalSystem) -> AsyncIterator[Stage]:
    """The business, the fake Meta and the accounts of the example file, applied."""
    settings = ServiceSettings.model_validate(
        {name.removeprefix("WA_").lower(): value for name, value in system.settings.items()}
    )
    async with Stage(settings, urls(system.ports), FileClock(system.settings["WA_CLOCK_FILE"])) as stage:
        await stage.set_up()
        await stage.accounts.apply()
        await stage.know()
        yield stage
