"""Reconciliation of a month three ways: what was predicted, what Meta's webhooks priced (the ledger), what Meta's analytics count; and Meta's invoice beside them.

`cli.py` is `wam reconcile`. Pure are `cells.py` (what is compared), `by_webhook.py` and `by_analytics.py` (the two comparisons), `invoice.py`, `report.py`.
"""
