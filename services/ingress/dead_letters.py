"""What can't be read in, records for a dead-letter topic out: whole, with reason and coordinates, in chunks when large. Pure."""

from services.ingress.record import Record
from shared.topics import Topic

CHUNK_BYTES = 1024 * 1024
"""Well below the largest record, so that headers and framing always fit."""
_REASON_CHARS = 2000


def dead_letters(topic: Topic, key: str, value: bytes, reason: str, source: str) -> list[Record]:
    """Park `value` in the dead-letter topic of `topic`, for `reason`.

    `source` says where it came from: `topic:partition:offset`, or a webhook's path such as `webhook:entry/0`. A value above 1 MiB becomes several records of one key, in order, with the header `dlq-chunk` = `1/3`, `2/3`, ….
    """
    headers = [
        ("dlq-reason", reason[:_REASON_CHARS].encode(errors="replace")),
        ("dlq-group", b"ingress"),
        ("dlq-source", source.encode(errors="replace")),
    ]
    chunks = [value[start : start + CHUNK_BYTES] for start in range(0, len(value), CHUNK_BYTES)] or [b""]
    return [
        Record(
            topic.dead_letters,
            key.encode(errors="replace"),
            chunk,
            headers if len(chunks) == 1 else [*headers, ("dlq-chunk", f"{index}/{len(chunks)}".encode())],
        )
        for index, chunk in enumerate(chunks, 1)
    ]
