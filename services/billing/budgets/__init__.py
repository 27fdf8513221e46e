"""Budgets: the spend per day in; what a month will come to, and one alert for each threshold that is passed, out.

A part of the tallies' process. Read `forecast.py` (pure), `outlook.py` (an account's month), `alerts.py` (what is due), then `watch.py`.
"""
