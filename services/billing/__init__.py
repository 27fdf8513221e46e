"""Billing: `send.events` in; the ledger, exactly one entry per charge or correction, and month tallies of it out.

Two processes: `python -m services.billing` folds the ledger (`ledger.py`), `python -m services.billing.tallies` adds it up (`tallies/`).
`rates/` are the commands `wam rates`, which bring Meta's rate cards into the configuration.
"""
