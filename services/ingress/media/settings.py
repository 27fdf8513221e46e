"""Settings of the media, from the environment (`WA_…`); the edge's process has them."""

from pathlib import Path

from pydantic import Field, SecretStr, model_validator

from shared.message_content.files import MAX_FILE
from shared.settings import GraphSettings


class MediaSettings(GraphSettings):
    """Where files are kept, whether they are fetched before anyone asks, and how much at once."""

    media_store: str = Field(
        "file:///var/lib/wa-middleware/media",
        pattern=r"^(file:///|s3://).+",
        description="Where received files are kept: `file:///directory`, or `s3://bucket/prefix`.",
    )
    media_s3_endpoint: str | None = Field(
        None, description="Address of a store that speaks S3, for others than Amazon's."
    )
    media_s3_region: str | None = Field(None, description="Region of the bucket.")
    media_s3_access_key: SecretStr | None = Field(
        None, description="Access key; without one the machine's own role serves."
    )
    media_s3_access_key_file: Path | None = Field(None, description="File that holds the access key.")
    media_s3_secret_key: SecretStr | None = Field(None, description="Secret key of the access key.")
    media_s3_secret_key_file: Path | None = Field(None, description="File that holds the secret key.")
    media_auto: bool = Field(
        False, description="Fetch every received file at once, and tell it on `media.v1`; else on demand."
    )
    media_at_once: int = Field(
        8, ge=2, le=256, description="Files fetched at once by themselves; half of them for first tries."
    )
    media_timeout_s: float = Field(600.0, gt=0, description="Longest that one file may take to fetch.")
    media_silence_s: float = Field(
        30.0, gt=0, description="Longest that a file may send nothing while it is fetched or uploaded."
    )
    media_lease_s: float = Field(
        30.0, gt=0, description="A fetch whose process has died is taken up again after so long."
    )
    media_max_bytes: int = Field(MAX_FILE, ge=1, description="Bytes of a received file at most.")
    media_max_bytes_by_kind: dict[str, int] = Field(
        {}, description='Less for some kinds, as JSON: `{"video": 16777216}`.'
    )

    media_public_url: str | None = Field(
        None,
        description="Root under which business systems reach the edge, for links to files; else what their call named.",
    )

    @model_validator(mode="after")
    def _both_keys(self) -> "MediaSettings":
        access, secret = (
            (self.media_s3_access_key, self.media_s3_access_key_file),
            (self.media_s3_secret_key, self.media_s3_secret_key_file),
        )
        if any(access) != any(secret):
            raise ValueError("WA_MEDIA_S3_ACCESS_KEY and WA_MEDIA_S3_SECRET_KEY go together")
        return self

    def s3_access_key(self) -> str | None:
        """The access key; raises OSError if its file can't be read."""
        return _secret(self.media_s3_access_key, self.media_s3_access_key_file)

    def s3_secret_key(self) -> str | None:
        """The secret key; raises as `s3_access_key` does."""
        return _secret(self.media_s3_secret_key, self.media_s3_secret_key_file)

    def most_bytes(self, kind: str | None) -> int:
        """Bytes that a file of this kind may have."""
        return min(self.media_max_bytes, self.media_max_bytes_by_kind.get(kind or "", self.media_max_bytes))


def _secret(value: SecretStr | None, file: Path | None) -> str | None:
    if file is not None:
        return file.read_text("utf-8").strip()
    return None if value is None else value.get_secret_value()
