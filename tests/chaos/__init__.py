"""Seeded faults against the whole system, and the proof that nothing came of them."""
