"""Who may change accounts: a bearer token in, the name of who holds it out."""

import hmac
from pathlib import Path

from pydantic import SecretStr

ADMIN = "admin"
"""The name that goes with the one token of the environment."""


class Tokens:
    """The shared token of the environment, and personal ones from a file that can be changed at any time."""

    def __init__(self, token: SecretStr | None, file: Path | None) -> None:
        self._token = token
        self._file = file

    def known(self) -> dict[str, str]:
        """Holder → token. Empty means that nobody may change anything.

        Raises:
            OSError: the tokens file can't be read.
        """
        tokens = {}
        if self._token is not None and self._token.get_secret_value():
            tokens[ADMIN] = self._token.get_secret_value()
        if self._file is not None:
            for line in self._file.read_text("utf-8").splitlines():
                name, _, token = line.strip().partition(" ")
                if token.strip() and not name.startswith("#"):
                    tokens[name] = token.strip()
        return tokens


def holder(authorization: str, tokens: dict[str, str]) -> str | None:
    """The name of the one whose token an `Authorization` header bears, or None. Constant time for each token.

    Compared as bytes: a header that is not ASCII must not raise.
    """
    scheme, _, given = authorization.partition(" ")
    if scheme.lower() != "bearer":
        return None
    secret = given.strip().encode("utf-8", "surrogateescape")
    matching = [name for name, token in tokens.items() if hmac.compare_digest(secret, token.encode())]
    return matching[0] if matching else None
