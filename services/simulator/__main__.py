"""Runs the simulator until it is told to stop: `python -m services.simulator`."""

import asyncio
import gc
import signal

import structlog
import uvloop

from services.simulator.app import Simulator
from services.simulator.settings import SimulatorSettings
from shared import logs
from shared.clock import clock_from


async def _run(settings: SimulatorSettings) -> None:
    log = structlog.get_logger("simulator")
    simulator = Simulator(settings, clock_from(settings.clock_file))
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    await simulator.start()
    log.info(
        "started", port=simulator.port, metrics_port=simulator.operations_port, webhooks=settings.webhook_url
    )
    told = asyncio.create_task(stop.wait())
    try:
        # The scheduler never ends by itself: if it does, its failure ends the process.
        done, _ = await asyncio.wait(
            {told, *([simulator.running] if simulator.running else [])}, return_when="FIRST_COMPLETED"
        )
        for task in done:
            task.result()
    finally:
        told.cancel()
        await simulator.stop()
        log.info("stopped")


def main() -> None:
    """Read the settings and run."""
    settings = SimulatorSettings()
    logs.configure(settings.log_level, "simulator")
    # Else full collections look through a long ledger, for 0.1 s each.
    gc.set_threshold(2_000, 10, 500)
    uvloop.run(_run(settings))


if __name__ == "__main__":
    main()
