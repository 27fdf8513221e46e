"""Pushes the public events to business systems that do not speak Kafka, as signed webhooks."""
