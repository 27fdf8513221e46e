"""The simulator's test bench, as the fixture `bench`."""

from tests.unit.simulator.bench import running_bench

__all__ = ["running_bench"]
