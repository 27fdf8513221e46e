"""A random month of messages, what it must cost by two independent reckonings, and the run that compares the ledger and the tallies with them (`make month`)."""
