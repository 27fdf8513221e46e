"""Settings of intake, from the environment (`WA_…`)."""

from pydantic import Field

from shared.settings import ServiceSettings


class IntakeSettings(ServiceSettings):
    """How much of the campaigns is released ahead of what is sent."""

    metrics_port: int = Field(9108, ge=0, le=65535, description="Port of /metrics, /live and /ready.")
    bulk_horizon_s: float = Field(
        5.0,
        gt=0,
        description="Seconds' worth of a number's messages that bulk requests may have on their way at once.",
    )
    bulk_look_ahead: int = Field(
        1_000_000,
        ge=1,
        description="Bulk requests of one partition that are known and wait, of 8 bytes each; beyond, the rest of the partition is not looked at.",
    )
