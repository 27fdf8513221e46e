"""Settings of the sender, from the environment (`WA_…`)."""

from pydantic import Field

from shared.settings import GraphSettings


class SenderSettings(GraphSettings):
    """Where Meta is, with which tokens, how much at once."""

    call_timeout_s: float = Field(
        15.0, gt=0, description="Longest a call may take; then its outcome is uncertain."
    )
    max_in_flight: int = Field(500, ge=1, description="Most calls at once, over all numbers.")
