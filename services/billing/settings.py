"""Settings of the two billing processes, from the environment (`WA_…`)."""

from pydantic import Field

from shared.settings import ServiceSettings


class BillingSettings(ServiceSettings):
    """The ledger."""

    metrics_port: int = Field(9104, ge=0, le=65535, description="Port of /metrics, /live and /ready.")


class TalliesSettings(ServiceSettings):
    """The tallies of the ledger."""

    metrics_port: int = Field(9107, ge=0, le=65535, description="Port of /metrics, /live and /ready.")
    session_timeout_s: float = Field(
        15.0,
        ge=6,
        le=15,
        description="Kafka drops a consumer that was silent for so long; Faust recovers well up to 15 s.",
    )
    tallies_host: str = Field("127.0.0.1", description="Address of the tallies' HTTP queries.")
    tallies_port: int = Field(
        8085, ge=0, le=65535, description="Port of the tallies' HTTP queries; 0 takes a free one."
    )
    tallies_generation: int = Field(
        1,
        ge=1,
        description="Raise it to count the whole ledger afresh, beside the former tallies, under keys of its own.",
    )
    tallies_hours_days: int = Field(
        62,
        ge=1,
        description="Days of which the tallies keep each hour; older ones keep their sum. A fresh count brings hours back.",
    )
    tallies_flush_s: float = Field(
        0.2, gt=0, le=5, description="Longest time an entry waits to be made durable and shown with others."
    )
