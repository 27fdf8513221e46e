"""What one router hears of webhooks the others know, on a real Redis: also after Redis has lost it, and never less than before."""

from collections.abc import AsyncIterator

import pytest_asyncio
from redis.asyncio import Redis

from deploy.local.stack import LocalStack
from services.router.heard import SETTLED_MS, Heard
from services.router.sharing import Sharing
from shared.clock import ManualClock
from shared.lifecycle import Service
from shared.settings import ServiceSettings
from shared.times import from_ms
from tests.conftest import Prefix
from tests.integration.stream.harness import until

NOW = 1_793_620_800_000


class Routers:
    """Two processes' ears and the Redis between them."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self.redis = redis
        self.ears = (Heard(), Heard())
        self.key = f"{{{namespace}:router}}:heard"
        service = Service("router", ServiceSettings())
        clock = ManualClock(from_ms(NOW))
        self.parts = [Sharing(service, redis, namespace, clock, heard, ()) for heard in self.ears]

    async def known(self, nth: int, sent_ms: int) -> None:
        """Return once that router knows of a status of a message sent then."""

        async def heard() -> bool:
            return self.ears[nth].latest().get("N1", (0, 0))[1] == sent_ms

        await until(heard, f"router {nth} knows of {sent_ms}")


@pytest_asyncio.fixture
async def routers(stack: LocalStack, prefix: Prefix) -> AsyncIterator[Routers]:
    redis = Redis.from_url(stack.endpoints.redis_url)
    routers = Routers(redis, prefix.redis)
    for part in routers.parts:
        await part.start()
    yield routers
    for part in routers.parts:
        await part.stop()
    await redis.aclose()


async def test_what_one_hears_the_other_knows_with_the_time_it_came(routers: Routers) -> None:
    one, other = routers.ears
    one.note("N1", NOW, NOW + 2000)
    await routers.known(1, NOW)
    assert other.later_than("N1", NOW - 1, NOW + 2000 + SETTLED_MS)
    assert not other.later_than("N1", NOW - 1, NOW + 1999 + SETTLED_MS)
    other.note("N1", NOW - 5000, NOW + 3000)
    other.note("N1", NOW + 9000, NOW + 9500)
    await routers.known(0, NOW + 9000)


async def test_what_redis_loses_is_told_again(routers: Routers) -> None:
    one, _ = routers.ears
    one.note("N1", NOW, NOW)
    await routers.known(1, NOW)
    await routers.redis.delete(routers.key)

    async def there() -> bool:
        return bool(await routers.redis.hexists(routers.key, "N1"))

    await until(there, "it is in Redis again")
