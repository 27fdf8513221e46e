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
    webhook_body_timeout_s: float = Field(5.0, gt=0, description="Longest time a body may take to come.")
    webhook_kafka_timeout_s: float = Field(8.0, gt=0, description="Longest wait for Kafka before 503.")
    webhook_max_in_flight: int = Field(
        1000, ge=1, description="Verified webhooks worked on at once; 503 beyond."
    )
    webhook_max_held_bytes: int = Field(
        256 * 1024 * 1024, ge=4 * 1024 * 1024, description="Bytes of bodies held at once; 503 beyond."
    )

    @model_validator(mode="after")
    def _secrets_given(self) -> "IngressSettings":
        for name in ("app_secret", "verify_token"):
            if getattr(self, name) is None and getattr(self, f"{name}_file") is None:
                raise ValueError(f"WA_{name.upper()} or WA_{name.upper()}_FILE is needed to take webhooks")
        return self

    def app_secrets(self) -> tuple[bytes, ...]:
        """The secrets a webhook may be signed with, the current one first.

        Raises:
            OSError: a secret's file can't be read.
            ValueError: a secret is empty.
        """
        current = _secret("app secret", self.app_secret, self.app_secret_file)
        previous = _secret("previous app secret", self.app_secret_previous, self.app_secret_previous_file)
        return tuple(secret for secret in (current, previous) if secret is not None)

    def handshake_token(self) -> bytes:
        """The verify token; raises as `app_secrets` does."""
        return _secret("verify token", self.verify_token, self.verify_token_file) or b""


def _secret(name: str, value: SecretStr | None, file: Path | None) -> bytes | None:
    if value is None and file is None:
        return None
    text = value.get_secret_value() if value is not None else file.read_text() if file is not None else ""
    secret = text.strip().encode()
    if not secret:
        raise ValueError(f"the {name} is empty")
    return secret
