"""Acceptance cases: a file says what happens and what must come of it; players play it as pure decisions or through the whole system.

Reading path: `form.py` (what a file may say; docs/cases.md in words), `player.py` (the port), `pure.py`, `system/`, `expectations.py`.
"""
