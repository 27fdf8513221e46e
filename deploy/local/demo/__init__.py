"""`make demo`: the guide played as a story through the whole system, every step checked."""
