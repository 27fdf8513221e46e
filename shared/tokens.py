"""Access tokens and app secrets by reference, from the environment or from files that are read anew when they change; and how a call proves itself with them.

The one home of both: whoever calls Meta gets `Credentials` here, and asks them for headers and query. None of it ever shows in a text.
"""

import hmac
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import SecretStr

from shared.settings import GraphSettings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Credentials:
    """With what one call proves who makes it. Two are equal only if no secret has changed."""

    token: SecretStr
    app_secret: SecretStr | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The token as Meta wants it."""
        return {"Authorization": f"Bearer {self.token.get_secret_value()}"}

    @property
    def query(self) -> dict[str, str]:
        """`appsecret_proof`, HMAC-SHA256 of the token under the app's secret in hex; nothing without a secret (Meta, Graph API, securing requests)."""
        if self.app_secret is None:
            return {}
        secret, token = self.app_secret.get_secret_value(), self.token.get_secret_value()
        return {"appsecret_proof": hmac.digest(secret.encode(), token.encode(), "sha256").hex()}


class Tokens:
    """Finds the credentials that a number's `token` refers to."""

    def __init__(
        self,
        default: SecretStr | None,
        folder: Path | None,
        app_secret: SecretStr | None = None,
        app_secret_folder: Path | None = None,
    ) -> None:
        self._default = default
        self._app_secret = app_secret
        self._tokens = _Files("access token", folder)
        self._app_secrets = _Files("app secret", app_secret_folder)

    def get(self, reference: str) -> Credentials | None:
        """The credentials, or None when there is no token of that name; a file wins over the environment.

        The app's secret is that of the token's own reference, else the one called `default`: most businesses have one app.
        """
        token = self._tokens.read(reference)
        if token is None and reference == "default":
            token = self._default
        if token is None:
            return None
        return Credentials(
            token, self._app_secrets.read(reference) or self._app_secrets.read("default") or self._app_secret
        )


def tokens_of(settings: GraphSettings) -> Tokens:
    """The tokens of a service that calls Meta."""
    return Tokens(settings.access_token, settings.token_dir, settings.app_secret, settings.app_secret_dir)


class _Files:
    """The secrets of a folder, a file each.

    A file that was replaced is another file (inode) though its time may be the same, whether by a rename or, as Kubernetes mounts secrets,
    by a link on the way to it; one stat at each use tells.
    """

    def __init__(self, kind: str, folder: Path | None) -> None:
        self._kind = kind
        self._folder = folder
        self._read: dict[str, tuple[tuple[int, ...], SecretStr | None]] = {}

    def read(self, reference: str) -> SecretStr | None:
        """The secret; None when there is none of that name, or it is empty or more than one line of text."""
        if self._folder is None or Path(reference).name != reference or reference.startswith("."):
            return None
        path = self._folder / reference
        try:
            found = path.stat()
            state = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
            known = self._read.get(reference)
            if known is None or known[0] != state:
                known = self._read[reference] = (state, self._secret(reference, path.read_bytes()))
        except OSError:
            return None
        return known[1]

    def _secret(self, reference: str, content: bytes) -> SecretStr | None:
        text = content.decode("utf-8", "surrogateescape").strip()
        if not text.isprintable():
            log.error("secret_malformed", secret=self._kind, reference=reference, wanted="one line of text")
            return None
        return SecretStr(text) if text else None
