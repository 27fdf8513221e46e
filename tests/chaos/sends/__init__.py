"""Senders killed at every step of a send, and the proof from the fake Meta's own ledger that nothing was sent twice or lost."""
