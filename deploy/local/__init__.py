"""The whole system on one machine, from real parts: Apache Kafka, Redis and our services as processes."""
