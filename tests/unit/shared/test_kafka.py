"""What is mended in the Kafka client."""

import asyncio
from typing import Any

import pytest
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from shared import kafka


class Closed:
    """The writer of a transport that uvloop has closed."""

    def write(self, data: bytes) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    def close(self) -> None:
        """Again."""


async def test_a_write_to_a_closed_transport_is_a_broken_connection() -> None:
    assert AIOKafkaConnection.send is kafka._send_or_break
    reasons = list[CloseReason | None]()
    connection: Any = AIOKafkaConnection("127.0.0.1", 9, on_close=lambda _, reason: reasons.append(reason))
    connection._writer = Closed()
    connection._reader = object()
    connection._read_task = asyncio.get_running_loop().create_future()
    connection._versions = {3: (0, 0)}
    with pytest.raises(KafkaConnectionError, match="handler is closed"):
        connection.send(MetadataRequest([]))
    assert reasons == [CloseReason.CONNECTION_BROKEN]
    assert connection._writer is None
