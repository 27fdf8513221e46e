"""Settings of ingress, from the environment (`WA_…`); secrets may stand in files instead."""

from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from shared.settings import ServiceSettings


class IngressSettings(ServiceSettings):
    """Where webhooks come in, with which secrets, and how much is held at once."""

    metrics_port: int = Field(9101, ge=0, le=65535, description="Port of /metrics, /live and /ready.")
    http_host: str = Field("127.0.0.1", description="Address that webhooks are taken on.")
    http_port: int = Field(
        8080, ge=0, le=65535, description="Port that webhooks are taken on; 0 takes a free one."
    )
    http_reuse_port: bool = Field(False, description="Let several processes of one machine share the port.")
    app_secret: SecretStr | None = Field(
        None, description="Meta app's secret, key of the webhooks' signature."
    )
    app_secret_file: Path | None = Field(None, description="File that holds the app secret.")
    app_secret_previous: SecretStr | None = Field(
        None, description="The secret before, valid too while it is rotated."
    )
    app_secret_previous_file: Path | None = Field(None, description="File that holds the secret before.")
    verify_token: SecretStr | None = Field(
        None, description="Token that Meta repeats when the webhook is set up."
    )
    verify_token_file: Path | None = Field(None, description="File that holds the verify token.")
    apps_file: Path | None = Field(
        None,
        description="YAML that names further Meta apps with where their secrets stand, each at `/webhooks/<name>`; read anew when changed.",
    )
    apps_dir: Path | None = Field(
        None,
        description="Folder with a folder per Meta app, in it the files `app-secret`, `app-secret-previous` (if there is one) and `verify-token`; read anew when changed.",
    )
    http_header_timeout_s: float = Field(
        5.0, gt=0, description="Longest time the headers of a request may take to come."
    )
    http_idle_timeout_s: float = Field(
        75.0,
        gt=0,
        description="Longest time a connection may be idle; longer than that of the proxy before it.",
    )
    http_max_connections: int = Field(
        10_000,
        ge=1,
        description="Connections at once; beyond, the oldest that brought no verified webhook is closed.",
    )
    webhook_body_timeout_s: float = Field(5.0, gt=0, description="Longest time a body may take to come.")
    webhook_kafka_timeout_s: float = Field(8.0, gt=0, description="Longest wait for Kafka before 503.")
    webhook_max_in_flight: int = Field(
        1000, ge=1, description="Verified webhooks worked on at once; 503 beyond."
    )
    webhook_max_held_bytes: int = Field(
        256 * 1024 * 1024, ge=4 * 1024 * 1024, description="Bytes of bodies held at once; 503 beyond."
    )

    @model_validator(mode="after")
    def _apps_given(self) -> "IngressSettings":
        if self.app_secret is None and self.app_secret_file is None:
            if self.apps_file is None and self.apps_dir is None:
                raise ValueError(
                    "WA_APP_SECRET(_FILE), WA_APPS_FILE or WA_APPS_DIR is needed to take webhooks"
                )
        elif self.verify_token is None and self.verify_token_file is None:
            raise ValueError("WA_VERIFY_TOKEN or WA_VERIFY_TOKEN_FILE is needed beside the app secret")
        return self
