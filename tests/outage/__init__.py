"""Kafka taken away under load: every webhook that Meta would send again arrives, and none counts twice (`make outage`)."""
