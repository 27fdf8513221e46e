"""Settings of the sender, from the environment (`WA_…`)."""

from pydantic import Field

from shared.settings import GraphSettings


class SenderSettings(GraphSettings):
    """Where Meta is, with which tokens, how much at once."""

    call_timeout_s: float = Field(
        15.0, gt=0, description="Longest a call may take; then its outcome is uncertain."
    )
    max_in_flight: int = Field(500, ge=1, description="Most calls at once, over all numbers.")
    max_waiting: int = Field(
        1_000_000,
        ge=1,
        description="Commands of one partition that wait in Redis, of some 1.2 KB each; beyond, that partition's commands wait in Kafka.",
    )
