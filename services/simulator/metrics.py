"""The simulator's metrics, on their own registry: labels from closed sets, children created at the start."""

from prometheus_client import CollectorRegistry, Counter, Gauge

CALL_OUTCOMES = ("accepted", "refused", "dropped", "read_mark")
POST_RESULTS = ("ok", "refused", "unreachable", "dropped")


class SimulatorMetrics:
    """Calls taken and webhooks posted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "wa_simulator_calls", "Calls of the send endpoint.", ["outcome"], registry=self.registry
        )  # fmt: skip
        self._posts = Counter("wa_simulator_posts", "Webhook POSTs.", ["result"], registry=self.registry)
        self.updates = Counter(
            "wa_simulator_updates", "Updates handed to the outbox.", registry=self.registry
        )
        self.waiting = Gauge(
            "wa_simulator_updates_waiting", "Updates not yet posted.", registry=self.registry
        )
        self.calls = {outcome: self._calls.labels(outcome) for outcome in CALL_OUTCOMES}
        self.posts = {result: self._posts.labels(result) for result in POST_RESULTS}
