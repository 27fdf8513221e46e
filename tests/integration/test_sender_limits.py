"""The sender against a simulator that refuses what exceeds a limit in any moving second."""

from deploy.local.stack import LocalStack
from tests.bench.limits import Trial, play


async def test_two_senders_that_share_numbers_out_anew_are_never_too_fast(stack: LocalStack) -> None:
    trial = Trial("a second sender joins and leaves", 4, 80, seconds=12, second_sender=True)
    outcome = await play(stack, None, trial)
    assert outcome.refused == {}
    assert outcome.busiest <= 80
    assert outcome.used > 0, "they sent nothing"
