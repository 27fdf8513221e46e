"""One record of a request topic in, the records that it becomes out; counts and logs the verdict."""

import structlog
from aiokafka.structs import ConsumerRecord
from prometheus_client import Counter

from services.ingress.dead_letters import dead_letters
from services.ingress.record import Record
from services.ingress.requests import UnreadableRequest, key_of, take
from shared import metrics
from shared.events import RequestMalformed, encode
from shared.topics import CONVERSATION_EVENTS, Topic

log = structlog.get_logger(__name__)


def outgoing(
    row: ConsumerRecord, topic: Topic, counter: Counter, now_ms: int, default_number: str | None
) -> list[Record]:
    """An event of the request's conversation; of what can't be read, dead letters of `topic`, where it was.

    `counter` has a label `verdict`: ok, malformed or undecodable.
    """
    value = row.value or b""
    try:
        event = take(value, now_ms, default_number)
    except UnreadableRequest as error:
        source = f"{row.topic}:{row.partition}:{row.offset}"
        log.error("request_parked", source=source, reason=str(error)[:200])
        counter.labels("undecodable").inc()
        metrics.DLQ_RECORDS.labels(topic.dead_letters.name).inc()
        key = (row.key or b"").decode(errors="replace")
        return dead_letters(topic, key, value, str(error), source)
    if isinstance(event, RequestMalformed):
        log.warning("request_malformed", request_id=event.request_id, problems=event.problems)
        counter.labels("malformed").inc()
    else:
        counter.labels("ok").inc()
    return [Record(CONVERSATION_EVENTS, key_of(event).encode(), encode(event))]
