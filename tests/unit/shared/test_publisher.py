"""Where a key's records go."""

from aiokafka.partitioner import murmur2 as aiokafka_s
from hypothesis import example, given
from hypothesis import strategies as st

from shared.stream.publisher import murmur2, partition_of


@given(st.binary(max_size=80))
@example(b"")
@example(b"106540352242922:4915112345678")
def test_a_key_is_hashed_as_kafka_s_own_clients_do(key: bytes) -> None:
    assert murmur2(key) == aiokafka_s(key) & 0xFFFFFFFF


def test_a_conversation_stays_in_its_partition() -> None:
    assert partition_of(b"106540352242922:4915112345678", 64) == 44
