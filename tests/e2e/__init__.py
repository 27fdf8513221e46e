"""Tests through all services, from the public surface only."""
