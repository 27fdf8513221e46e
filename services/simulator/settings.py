"""Settings of the simulator, from the environment (`WA_…`)."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class SimulatorSettings(BaseSettings):
    """Where the simulator listens, where it posts webhooks, with which secrets."""

    model_config = SettingsConfigDict(env_prefix="WA_", extra="ignore", frozen=True)

    http_host: str = Field("127.0.0.1", description="Address of the fake Graph API and of the control API.")
    http_port: int = Field(8070, ge=0, le=65535, description="Port of both; 0 takes a free one.")
    metrics_host: str = Field("127.0.0.1", description="Address of /metrics, /live and /ready.")
    metrics_port: int = Field(9106, ge=0, le=65535, description="Port of /metrics, /live and /ready.")
    webhook_url: str = Field("http://127.0.0.1:8080/webhooks", description="Where webhooks are posted.")
    app_secret: SecretStr = Field(
        SecretStr("simulator-secret"), description="Key of the webhooks' signature."
    )
    access_token: SecretStr = Field(
        SecretStr("simulator-token"), description="The bearer token that is accepted."
    )
    clock_file: Path | None = Field(
        None, description="The movable clock; without it the clock can't be moved."
    )
    accounts_file: Path | None = Field(None, description="JSON of `PUT /sim/accounts`, applied at the start.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe line logged."
    )
