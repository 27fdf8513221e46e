"""The ledger as books: read as a whole, archived into files, verified against the send events, and its tallies rebuilt from it.

Whoever reads the ledger from its beginning reads it here (`reading.py`): archived files first, then the topic from where they end.
"""
