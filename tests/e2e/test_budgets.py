"""A budget through all services: it stops what would exceed it, is told of beforehand, and lets pass what comes after it was raised."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local.demo.accounts import EXAMPLE, for_meta
from deploy.local.demo.stage import PEOPLE, Stage
from deploy.local.paths import REPOSITORY
from deploy.local.services import operator_settings
from deploy.local.system import LocalSystem
from services.console.document import parse
from services.console.steps import template_message
from shared.events import Decision, SendEvent

pytestmark = pytest.mark.timeout(300)
ON_A_BUSY_MACHINE_S = 90.0
WABA, NUMBER = "102290129340444", "106540352242944"
"""An account of this test alone: what it spends, and that it may spend no more, is nobody else's."""


async def wam(system: LocalSystem, *arguments: str) -> str:
    """What `wam` prints; it must be content."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.console.cli", *arguments),
        cwd=REPOSITORY,
        env={**os.environ, **operator_settings(system.settings, system.ports), "COLUMNS": "200"},
        stdout=PIPE,
        stderr=PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, out.decode() + err.decode()
    return out.decode()


def account() -> dict[str, Any]:
    """The shop of the example under ids of its own."""
    shop = yaml.safe_load(EXAMPLE.read_text("utf-8"))["accounts"][0]
    number = shop["numbers"][0] | {"id": NUMBER, "display_phone_number": "+1 555 010 0404"}
    return {**shop, "id": WABA, "portfolio_id": WABA, "default": False, "numbers": [number]}


async def budget(system: LocalSystem, stage: Stage, folder: Path, amount_micros: int) -> None:
    """Give the account a budget for everything, as an operator does, and wait until all know it."""
    written = account() | {"budgets": [{"amount_micros": amount_micros}]}
    file = folder / "accounts.yaml"
    file.write_text(yaml.safe_dump({"accounts": [written]}), "utf-8")
    await wam(system, "apply", str(file), "--yes")
    await stage.know()


async def decided(stage: Stage, request_id: str, who: str, *, delivered: bool = True) -> Decision:
    """Write a marketing message to someone; the decision on it, once it is delivered."""
    message = template_message(f"+{PEOPLE[who]}", "promo", "de", [])
    await stage.business.request({"request_id": request_id, "from": NUMBER, "message": message})

    def found(event: str) -> SendEvent | None:
        told = stage.business.of_request(request_id, event)
        return told[0].event if told and isinstance(told[0].event, SendEvent) else None

    async def came(event: str) -> SendEvent:
        return await stage.business.until(
            lambda: found(event), f"{event} of {request_id}", ("router",), within_s=ON_A_BUSY_MACHINE_S
        )

    decision = (await came("decided")).decision
    assert decision is not None
    if delivered:
        await came("delivered")
    return decision


async def told(stage: Stage, *percents: int) -> None:
    """Return once just these thresholds were told as spent."""

    def all_came() -> bool | None:
        alerts = [alert for alert in stage.business.alerts() if alert.waba_id == WABA]
        return {alert.percent for alert in alerts if alert.alert == "spent"} == set(percents) or None

    what = f"alerts at {percents} of {WABA}"
    await stage.business.until(all_came, what, ("billing", "billing.tallies"), within_s=ON_A_BUSY_MACHINE_S)


async def forecast(system: LocalSystem, waba: str) -> dict[str, Any]:
    """All categories together, as `wam forecast` has them."""
    total: dict[str, Any] = json.loads(await wam(system, "forecast", waba, "--json"))["scopes"][0]
    return total


@pytest.mark.long
async def test_what_exceeds_a_budget_is_refused_and_passes_once_it_was_raised(
    system: LocalSystem, stage: Stage, tmp_path: Path
) -> None:
    meta = for_meta(parse(yaml.safe_dump({"accounts": [account()]}), bool, bool).accounts)
    await stage.simulator.call("PUT", "/sim/accounts", meta)
    await budget(system, stage, tmp_path, 10**12)
    first = await decided(stage, "budget-1", "Anna")
    assert first.price is not None
    price = first.price.amount_micros
    assert (first.outcome, price > 0) == ("allow", True)

    await budget(system, stage, tmp_path, 2 * price - 1)
    await told(stage, 50)
    refused = await decided(stage, "budget-2", "Ben", delivered=False)
    assert (refused.outcome, refused.reason) == ("reject", "budget_exceeded")

    await budget(system, stage, tmp_path, 2 * price)
    assert (await decided(stage, "budget-3", "Clara")).reason == "ok"
    await told(stage, 50, 80, 100)
    total = await forecast(system, WABA)
    assert (total["spent_micros"], total["budget_micros"], total["used_percent"]) == (
        2 * price,
        2 * price,
        100,
    )
    assert total["used_up_on"] == f"{stage.now():%Y-%m-%d}"
    assert "100 %" in await wam(system, "forecast")

    full = await decided(stage, "budget-4", "Dina", delivered=False)
    assert (full.outcome, full.reason) == ("reject", "budget_exceeded")
    system.require_running()
