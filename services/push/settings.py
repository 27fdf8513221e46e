"""Settings of push, from the environment (`WA_…`)."""

from pathlib import Path

from pydantic import Field

from shared.settings import ServiceSettings


class PushSettings(ServiceSettings):
    """Who is told, and how much is read ahead for each."""

    metrics_port: int = Field(9110, ge=0, le=65535, description="Port of /metrics, /live and /ready.")
    push_endpoints_file: Path | None = Field(
        None,
        description="The endpoints (YAML, config/push.example.yaml); read anew when it changes. Nobody is told without it.",
    )
    push_allow_private: bool = Field(
        False,
        description="Let endpoints be http and have private addresses; for local stacks and networks of one's own.",
    )
    push_look_ahead: int = Field(
        2000,
        ge=1,
        description="Events read ahead of the first that is not delivered, per endpoint and partition; then the partition waits.",
    )
    push_look_ahead_bytes: int = Field(
        256 * 1024,
        ge=1024,
        description="Bytes of undelivered events held per endpoint and partition; then the partition waits.",
    )
    push_reload_s: float = Field(2.0, gt=0, description="How often the endpoints file is looked at.")
