"""Settings of the router, from the environment (`WA_…`)."""

from pydantic import Field

from shared.settings import ServiceSettings


class RouterSettings(ServiceSettings):
    """How much the router keeps at hand."""

    state_cache: int = Field(
        50_000,
        ge=0,
        description="Conversations kept in memory, in partitions this process owns; others are read from Redis.",
    )
