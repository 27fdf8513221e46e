"""Settings that every service has, read from the environment (`WA_…`); the table in docs/settings.md is generated from these classes."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.events import Category
from shared.uncertain import RESENT


class ServiceSettings(BaseSettings):
    """What every service needs: where Kafka and Redis are, who it is, where its metrics are read."""

    model_config = SettingsConfigDict(env_prefix="WA_", extra="ignore", frozen=True)

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, comma-separated.")
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="Kafka security protocol."
    )
    kafka_ca_file: Path | None = Field(None, description="CA certificates for Kafka over TLS.")
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="SASL mechanism, when the protocol is SASL_*."
    )
    kafka_username: str | None = Field(None, description="SASL user name.")
    kafka_password: SecretStr | None = Field(None, description="SASL password.")
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0", description="Redis; `rediss://` for TLS, user and password in the URL."
    )
    redis_namespace: str = Field("wa", description="First part of every Redis key.")
    topic_prefix: str = Field("wa.", description="First part of every topic name.")
    partitions: int = Field(
        64, ge=1, le=1024, description="Partitions of each topic; fixed when the topics are created."
    )
    replication: int = Field(3, ge=1, description="Replicas of each topic; 1 in the local stack.")
    instance: str = Field(
        "0", description="Name of this replica, stable over restarts: static group membership."
    )
    session_timeout_s: float = Field(
        10.0, gt=0, description="Kafka drops a consumer that was silent for so long."
    )
    metrics_host: str = Field("127.0.0.1", description="Address that /metrics, /live and /ready listen on.")
    metrics_port: int = Field(9100, ge=0, le=65535, description="Port of /metrics, /live and /ready.")
    clock_file: Path | None = Field(
        None, description="A movable clock, local stacks only; leave unset in production."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe line logged."
    )
    log_key: SecretStr = Field(
        SecretStr("change-me"),
        description="Key of the hash that stands for phone numbers in logs and in the ledger.",
    )
    config_dir: Path = Field(
        Path("config"), description="Folder of regimes, rate cards, market map and error table."
    )
    resent_categories: tuple[Category, ...] = Field(
        RESENT,
        description="Categories whose messages are sent once more when nobody knows whether they went out (as JSON).",
    )
    drain_s: float = Field(20.0, gt=0, description="Longest time a stop waits for work in flight.")
    watchdog_s: float = Field(
        60.0, gt=0, description="A consumer that lags and has not moved for so long ends itself."
    )


class GraphSettings(ServiceSettings):
    """What every service that calls Meta needs beside that: where the Graph API is, and with which tokens."""

    model_config = SettingsConfigDict(hide_input_in_errors=True)

    graph_url: str = Field("https://graph.facebook.com", description="Root of the Graph API.")
    graph_version: str = Field("v23.0", pattern=r"^v\d+\.\d+$", description="Version of the Graph API.")
    call_timeout_s: float = Field(15.0, gt=0, description="Longest a call to Meta may take.")
    connect_timeout_s: float = Field(5.0, gt=0, description="Longest to wait for a connection to Meta.")
    access_token: SecretStr | None = Field(
        None, description="The access token of numbers whose `token` is `default`."
    )
    token_dir: Path | None = Field(
        None, description="Folder of access tokens, a file per reference; read anew when changed."
    )
    app_secret: SecretStr | None = Field(
        None, description="The Meta app's secret; with it each call to Meta carries an `appsecret_proof`."
    )
    app_secret_dir: Path | None = Field(
        None,
        description="Folder of app secrets, a file per token's reference, `default` for those without; read anew when changed.",
    )

    @field_validator("access_token", "app_secret")
    @classmethod
    def _is_one_line(cls, secret: SecretStr | None) -> SecretStr | None:
        text = "" if secret is None else secret.get_secret_value().strip()
        if not text.isprintable():
            raise ValueError("must be one line of text, without control characters")
        return SecretStr(text) if text else None
