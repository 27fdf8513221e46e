"""One-time passwords among campaigns, through all services; `make bench ARGS="--only bulk"` is the long form."""

from deploy.local.stack import LocalStack
from tests.bench.bulk import Trial, play


async def test_a_one_time_password_does_not_wait_for_a_campaign(stack: LocalStack) -> None:
    outcome = await play(stack, Trial(bulk=6000, free=1, passwords=8, per_s=4.0, compare=False))
    assert outcome.refused == {}
    assert outcome.waiting > 3000, "nothing waited"
    before = outcome.bulk_before.values()
    assert len(before) == 8
    assert max(before) < outcome.bulk_taken, "nothing was released meanwhile"
    assert max(before) < 3000 // 2, "3000 were there before"
