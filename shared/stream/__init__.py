"""The stateful stream processor: a service gives it a pure fold, it gives exactly-once effects over Kafka and Redis.

Read `fold.py` (what a service writes), then `processor.py` (the loop), `store.py` (the one commit), `publisher.py`, `recall.py`.
"""
