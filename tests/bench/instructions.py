"""User-space instructions that a message costs sender and ingress, beside their ceilings: the same to some hundredths whatever else the machine does, where seconds differ by half.

`python -m tests.bench.instructions [ingress|sender]`, two minutes each. Valgrind counts two runs of different lengths; what both have, such as the start, falls out. The kernel's part is not in it, and everything
takes thirty times as long, so batches are full.
"""

import asyncio
import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from rich.console import Console
from rich.table import Table

from deploy.local import install
from deploy.local.ports import free_ports
from deploy.local.process import OwnedProcess
from deploy.local.stack import LocalStack
from tests.bench import ingress, load, processes
from tests.bench.sender import TOKEN, Simulated, order, prepare

FEW, MANY = 2000, 8000
CONNECTIONS = 64


@dataclass(frozen=True)
class Counter:
    """Starts a process whose instructions are counted into `report`."""

    valgrind: Path
    report: Path
    log: Path

    def start(self, arguments: list[str], env: dict[str, str]) -> OwnedProcess:
        cachegrind = ("--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
        under = (str(self.valgrind), *cachegrind, f"--log-file={self.report}")
        # The same hashes in each run, so that sets and dicts collide alike.
        return processes.start(arguments, {**env, "PYTHONHASHSEED": "0"}, self.log, None, under)

    def counted(self) -> int:
        """Instructions of the process that has ended."""
        found = re.search(r"I\s+refs:\s+([\d,]+)", self.report.read_text())
        if found is None:
            raise RuntimeError(f"valgrind counted nothing\n{self.report.read_text()}")
        return int(found[1].replace(",", ""))


async def sender(stack: LocalStack, counter: Counter, messages: int) -> None:
    """As many commands on Kafka, until Meta has accepted them."""
    async with Simulated(stack, f"counted-{messages}") as simulated:
        settings, env = await prepare(stack, simulated.url)
        await order(settings, messages)
        process = counter.start(["services.sender"], env)
        while await simulated.accepted() < messages:
            if process.returncode is not None:
                raise RuntimeError(process.log_tail(30))
            await asyncio.sleep(0.2)
        await process.stop(grace_s=60)


async def bare_client(stack: LocalStack, counter: Counter, messages: int) -> None:
    """The sender's ceiling."""
    async with Simulated(stack, f"counted-bare-{messages}") as simulated:
        process = counter.start(
            ["tests.bench.bare_client", simulated.url, TOKEN, load.number_id(0), str(messages)], {}
        )
        while process.returncode is None:
            await asyncio.sleep(0.2)


async def webhooks(stack: LocalStack, counter: Counter, requests: int) -> None:
    """As many signed webhooks, each acknowledged by Kafka."""
    port, probes = free_ports(2)
    env = await ingress.environment(stack, port, probes)
    await _posted(counter.start(["services.ingress"], env), port, requests)


async def bare_handler(stack: LocalStack, counter: Counter, requests: int) -> None:
    """Ingress's ceiling."""
    (port,) = free_ports(1)
    await _posted(counter.start(["tests.bench.bare_handler", str(port)], {}), port, requests)


async def _posted(server: OwnedProcess, port: int, requests: int) -> None:
    await ingress.listening(server, port, within_s=120)
    left = iter(range(requests))
    signed = ingress.signed_webhooks()

    async def post(http: aiohttp.ClientSession) -> None:
        for nth in left:
            signature, body = signed[nth % len(signed)]
            headers = {"X-Hub-Signature-256": signature, "Content-Type": "application/json"}
            async with http.post(f"http://127.0.0.1:{port}/webhooks", data=body, headers=headers) as answer:
                answer.raise_for_status()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await asyncio.gather(*(post(http) for _ in range(CONNECTIONS)))
    await server.stop(grace_s=60)


PAIRS = {"ingress": (webhooks, bare_handler), "sender": (sender, bare_client)}


async def main(names: list[str]) -> None:
    """Count and print."""
    valgrind = install.tool("valgrind")
    table = Table("counted", "instructions a message", "of the bare one", "bare / ours")
    async with LocalStack(name="bench") as stack:
        for name in names:
            each = []
            for work in PAIRS[name]:
                counts = []
                for messages in (FEW, MANY):
                    counter = Counter(
                        valgrind,
                        stack.directory / "instructions.txt",
                        stack.directory / "logs" / f"{work.__name__}.log",
                    )
                    await work(stack, counter, messages)
                    counts.append(counter.counted())
                each.append((counts[1] - counts[0]) // (MANY - FEW))
            table.add_row(name, f"{each[0]:,}", f"{each[1]:,}", f"{each[1] / each[0]:.2f}")
    Console().print(table)


if __name__ == "__main__":
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # new topics look for their leaders a moment
    asyncio.run(main(sys.argv[1:] or list(PAIRS)))
