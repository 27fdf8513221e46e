"""Settings of the sender, from the environment (`WA_…`)."""

from pathlib import Path

from pydantic import Field, SecretStr

from shared.settings import ServiceSettings


class SenderSettings(ServiceSettings):
    """Where Meta is, with which tokens, how much at once."""

    graph_url: str = Field("https://graph.facebook.com", description="Root of the Graph API.")
    graph_version: str = Field("v23.0", pattern=r"^v\d+\.\d+$", description="Version of the Graph API.")
    call_timeout_s: float = Field(
        15.0, gt=0, description="Longest a call may take; then its outcome is uncertain."
    )
    connect_timeout_s: float = Field(5.0, gt=0, description="Longest to wait for a connection to Meta.")
    max_in_flight: int = Field(500, ge=1, description="Most calls at once, over all numbers.")
    max_in_flight_per_number: int = Field(100, ge=1, description="Most calls at once of one number.")
    access_token: SecretStr | None = Field(
        None, description="The access token of numbers whose `token` is `default`."
    )
    token_dir: Path | None = Field(
        None, description="Folder of access tokens, a file per reference; read anew when changed."
    )
