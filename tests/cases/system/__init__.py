"""The system player: a real Kafka and Redis, all services, and the simulator as Meta, on a clock that stands still between instants."""
