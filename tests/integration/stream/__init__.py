"""The stream processor's contract, on a real Kafka and Redis."""
