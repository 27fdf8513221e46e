"""Signed bodies that Meta never sent, through the real handler: each is refused, published or parked, and none fails (`make fuzz`)."""
