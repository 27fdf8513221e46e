"""Settings of intake, from the environment (`WA_…`)."""

from pydantic import Field

from shared.settings import ServiceSettings


class IntakeSettings(ServiceSettings):
    """What every service needs, and no more."""

    metrics_port: int = Field(9108, ge=0, le=65535, description="Port of /metrics, /live and /ready.")
