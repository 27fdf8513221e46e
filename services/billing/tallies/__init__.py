"""The tallies: the ledger in, month rows in Redis out, added up by a Faust app.

Read `app.py`, then `adding.py` (what happens to an entry), `faust_app.py` (how Faust is set up, and why so), `rows.py` (Redis).
"""
