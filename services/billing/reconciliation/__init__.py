"""Reconciliation of a month three ways: what was predicted, what Meta's webhooks priced (the ledger), what Meta's analytics count; and Meta's invoice beside them.

`cli.py` is `wam reconcile`, `reconciling.py` its shell. What is compared is in `cells.py`; the two comparisons are `by_webhook.py` and `by_analytics.py`; `report.py` sums up.
"""
