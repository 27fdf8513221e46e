"""The metrics of one endpoint: made when it starts, gone when it leaves."""

from typing import get_args

from services.push.answers import Outcome
from shared import metrics

_OF_ENDPOINT = (
    metrics.PUSH_EVENTS,
    metrics.PUSH_PARKED,
    metrics.PUSH_EXPIRED,
    metrics.PUSH_SECONDS,
    metrics.PUSH_OLDEST_SECONDS,
    metrics.PUSH_LAG,
    metrics.PUSH_BREAKER_OPEN,
    metrics.PUSH_DISABLED,
)


class Meters:
    """The children with the endpoint's name."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self.tries = {outcome: metrics.PUSH_TRIES.labels(endpoint, outcome) for outcome in get_args(Outcome)}
        self.events = metrics.PUSH_EVENTS.labels(endpoint)
        self.parked = metrics.PUSH_PARKED.labels(endpoint)
        self.expired = metrics.PUSH_EXPIRED.labels(endpoint)
        self.seconds = metrics.PUSH_SECONDS.labels(endpoint)
        self.oldest = metrics.PUSH_OLDEST_SECONDS.labels(endpoint)
        self.lag = metrics.PUSH_LAG.labels(endpoint)
        self.breaker_open = metrics.PUSH_BREAKER_OPEN.labels(endpoint)
        self.disabled = metrics.PUSH_DISABLED.labels(endpoint)

    def remove(self) -> None:
        """The endpoint is no more: nothing stale is shown of it."""
        for outcome in get_args(Outcome):
            metrics.PUSH_TRIES.remove(self._endpoint, outcome)
        for metric in _OF_ENDPOINT:
            metric.remove(self._endpoint)
