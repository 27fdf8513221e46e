"""Access tokens by reference: `default` from the environment, others from a folder of files; read anew when a file changes."""

from pathlib import Path

from pydantic import SecretStr


class Tokens:
    """Finds the token that a number's `token` refers to. Tokens are never logged."""

    def __init__(self, default: SecretStr | None, folder: Path | None) -> None:
        self._default = default
        self._folder = folder
        self._read: dict[str, tuple[int, str]] = {}

    def get(self, reference: str) -> str | None:
        """The token, or None when there is none of that name; a file of the folder wins over the environment."""
        from_file = self._from_file(reference)
        if from_file is not None:
            return from_file
        if reference == "default" and self._default is not None:
            return self._default.get_secret_value()
        return None

    def _from_file(self, reference: str) -> str | None:
        if self._folder is None or Path(reference).name != reference or reference.startswith("."):
            return None
        path = self._folder / reference
        try:
            changed = path.stat().st_mtime_ns
            known = self._read.get(reference)
            if known is None or known[0] != changed:
                known = self._read[reference] = (changed, path.read_text("utf-8").strip())
        except OSError:
            return None
        return known[1] or None
