"""Where the local stack keeps its files. Everything lies below `.local/` of the checkout and may be deleted."""

import os
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]
LOCAL: Final = REPOSITORY / ".local"
RUNS: Final = Path(os.environ.get("WA_RUN_DIR") or LOCAL / "run").resolve()
"""One directory per instance: data, logs, clock."""
