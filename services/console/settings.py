"""Settings of the console and of the CLI, from the environment (`WA_…`)."""

from pathlib import Path

from pydantic import AnyHttpUrl, Field, SecretStr, TypeAdapter

from shared.settings import GraphSettings

_LINKS = {
    "ingress": "http://127.0.0.1:9101/metrics",
    "intake": "http://127.0.0.1:9108/metrics",
    "router": "http://127.0.0.1:9102/metrics",
    "sender": "http://127.0.0.1:9103/metrics",
    "billing": "http://127.0.0.1:9104/metrics",
    "tallies": "http://127.0.0.1:9107/metrics",
    "console": "http://127.0.0.1:9105/metrics",
}


class ConsoleSettings(GraphSettings):
    """Where the page and the admin API listen, who may change accounts, where tallies are asked for, how often Meta is."""

    http_host: str = Field("127.0.0.1", description="Address of the web page and of the admin API.")
    http_port: int = Field(8090, ge=0, le=65535, description="Port of both; 0 takes a free one.")
    metrics_port: int = Field(9105, ge=0, le=65535, description="Port of /metrics, /live and /ready.")
    admin_token: SecretStr | None = Field(
        None,
        description="Bearer token that may change accounts; all is refused without it and tokens file.",
    )
    admin_tokens_file: Path | None = Field(
        None,
        description="Personal tokens, lines of `name token`; read at each use, the name is audited.",
    )
    tallies_url: str = Field("http://127.0.0.1:8085", description="Where billing's tallies answer.")
    links: dict[str, AnyHttpUrl] = Field(
        TypeAdapter(dict[str, AnyHttpUrl]).validate_python(_LINKS),
        description="Name → URL, shown on the page: metrics, dashboards (as JSON).",
    )
    poll_period_s: float = Field(
        900.0,
        gt=0,
        description="Between two polls of an account at Meta, by the clock; nobody is polled without a token.",
    )

    @property
    def polls(self) -> bool:
        """Whether Meta is polled: as soon as a token is configured."""
        return self.access_token is not None or self.token_dir is not None
