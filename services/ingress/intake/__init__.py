"""Intake: the business's send requests in from their topics, conversation events out; a process of its own, which keeps nothing."""
