"""One-time passwords among campaigns, through all services; `make bench ARGS="--only bulk"` is the long form."""

from deploy.local.stack import LocalStack
from tests.bench.bulk import Trial, play


async def test_a_one_time_password_does_not_wait_for_a_campaign(stack: LocalStack) -> None:
    outcome = await play(stack, Trial(bulk=6000, free=1, passwords=8, per_s=4.0, compare=False))
    assert outcome.refused == {}
    assert outcome.waiting > 3000, "nothing waited"
    assert outcome.bulk_per_s > 20, "nothing was released meanwhile"
    assert max(outcome.beside_ms["to Meta"]) < 10_000, (
        "it takes half a minute to send all that was there before"
    )
