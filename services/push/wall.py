"""The wall clock, whatever a local stack's movable clock shows: Kafka's times and the clocks of receivers are the wall's too."""

import time


def now_ms() -> int:
    """Epoch milliseconds."""
    return int(time.time() * 1000)
