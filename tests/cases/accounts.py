"""The accounts of a case and what changes in them: facts for the system, the same for Meta, places taken before, months charged. Pure."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from services.console.pausing import Kind
from services.console.pausing import Pause as PauseOrder
from shared.events import AccountChanged
from shared.stream.fold import Claim
from shared.times import DAY_MS, from_ms
from tests.cases.actions import Facts, Pause, Pay, Prefer, Resume, Verify
from tests.cases.form import LANGUAGE, TEMPLATES, AccountSpec, Case, TemplateSpec
from tests.cases.names import Names

NO_LIMIT = 10**9
LONGEST_DELIVERY_MS = 30 * DAY_MS
"""Meta tries to deliver a message for so long (Meta, Cloud API, time to live)."""
TAKEN_FOR_MS = 10**10
"""Places that others took outlast every case."""


def facts(names: Names) -> list[AccountChanged]:
    """The account facts as the case begins."""
    return [
        event for name, account in names.case.accounts.items() for event in _facts_of(names, name, account)
    ]


def changed(names: Names, action: Facts, at_ms: int) -> AccountChanged:
    """The account event of facts that an operator sets."""
    if action.number is not None:
        subject, id_ = "number", names.number(action.number)
    elif action.template is not None:
        subject, id_ = "template", f"{action.template}/{LANGUAGE}"
    else:
        subject, id_ = "account", names.account(action.account)
    return _changed(names, action.account, subject, id_, action.fields, at_ms)


def pausing(names: Names, action: Pause | Resume) -> PauseOrder:
    """What the operator asks the console to pause or resume."""
    waba: str | None = names.account(action.account)
    kind: Kind = "account"
    id_ = names.account(action.account)
    if action.number is not None:
        kind, id_, waba = "number", names.number(action.number), None
    elif action.template is not None:
        kind, id_ = "template", f"{action.template}/{LANGUAGE}"
    elif action.category is not None:
        kind, id_ = "category", action.category
    return PauseOrder(kind, id_, waba, paused=isinstance(action, Pause), reason=action.reason)


def paying(names: Names, action: Pay, at_ms: int) -> AccountChanged:
    """The account event of another payment method."""
    id_ = names.account(action.account)
    return _changed(names, action.account, "account", id_, {"payment_method": action.method}, at_ms)


def default_account(names: Names, at_ms: int, *, is_default: bool) -> AccountChanged:
    """Whether requests without `from` mean this case's first account."""
    name = next(iter(names.case.accounts))
    return _changed(names, name, "account", names.account(name), {"default": is_default}, at_ms)


def before(case: Case) -> Iterator[Verify | Prefer]:
    """What users did before the case begins."""
    for waba, account in case.accounts.items():
        numbers = [number for number, owner in case.numbers.items() if owner == waba]
        for user in account.verified_receivers:
            yield from (Verify(user=user, to=number) for number in numbers)
        for user in account.opted_out:
            yield Prefer(user=user, to=numbers[0], marketing="stop")


def meta_accounts(names: Names) -> dict[str, Any]:
    """The accounts as the simulator must have them: the body of `PUT /sim/accounts`."""
    case = names.case
    return {
        "wabas": [
            {
                "id": names.account(name),
                "currency": account.currency,
                "timezone": account.timezone,
                "payment_method": account.payment_method,
                "regime": case.regime,
                "free_used": account.free_used,
                "disable_marketing_messages_on_cloud_api": account.marketing_on_cloud_api_disabled,
                "numbers": [
                    {
                        "id": names.number(number),
                        "display_phone_number": names.display(number),
                        "registered": _number(case, number)["registered"],
                        "free_used": account.free_used_by_number.get(number, 0),
                    }
                    for number, owner in case.numbers.items()
                    if owner == name
                ],
                "templates": [
                    {
                        "name": template,
                        "language": LANGUAGE,
                        "category": spec.category,
                        "status": spec.status,
                        "components": spec.definition,
                    }
                    for template, spec in _templates(account).items()
                ],
            }
            for name, account in case.accounts.items()
        ]
    }


def places_taken(names: Names) -> list[Claim]:
    """Places in the shared limits that others took before the case begins."""
    case = names.case
    used: dict[str, int] = {}
    for name, account in case.accounts.items():
        day = datetime.fromtimestamp(case.start_ms / 1000, UTC).astimezone(ZoneInfo(account.timezone))
        month = f"{day:%Y-%m}"
        tier = f"tier:{names.portfolio}"
        used[tier] = used.get(tier, 0) + account.limit_used_by_others
        used[f"free:{names.account(name)}:{month}"] = account.free_used
        for number, count in account.free_used_by_number.items():
            used[f"free:{names.number(number)}:{month}"] = count
    return [
        Claim(scope, f"{scope}.other{n}", f"other{n}", NO_LIMIT, case.start_ms + TAKEN_FOR_MS)
        for scope, count in used.items()
        for n in range(count)
    ]


def months(names: Names) -> dict[str, set[str]]:
    """The months, by WABA id, in which the case can be charged, in its accounts' own time zones."""
    case = names.case
    until_ms = case.steps[-1].at_ms + LONGEST_DELIVERY_MS
    times = [from_ms(ms) for ms in (*range(case.start_ms, until_ms, DAY_MS), until_ms)]
    return {
        names.account(name): {f"{at.astimezone(ZoneInfo(account.timezone)):%Y-%m}" for at in times}
        for name, account in case.accounts.items()
    }


def _facts_of(names: Names, name: str, account: AccountSpec) -> Iterator[AccountChanged]:
    case, at_ms = names.case, names.case.start_ms
    waba = names.account(name)
    yield _changed(
        names,
        name,
        "account",
        waba,
        {
            "regime": case.regime,
            "portfolio_id": names.portfolio,
            "payment_method": account.payment_method,
            "business_verified": True,
            "messaging_limit": account.limit,
            "timezone": account.timezone,
            "currency": account.currency,
            "paused": account.paused,
            "status": account.status,
            "budgets": [budget.model_dump() for budget in account.budgets],
            "marketing_reserve_percent": account.marketing_reserve_percent,
            "stop_words": account.stop_words,
            "paused_categories": list(account.paused_categories),
            "marketing_messages_api": account.marketing_messages_api,
            "marketing_on_cloud_api_disabled": account.marketing_on_cloud_api_disabled,
        },
        at_ms,
    )
    for number, owner in case.numbers.items():
        spec = _number(case, number)
        if owner == name and spec.pop("known"):
            fields = {"display_phone_number": names.display(number), "default": number == "N1", **spec}
            yield _changed(names, name, "number", names.number(number), fields, at_ms)
    for template, form in _templates(account).items():
        fields = {
            "category": form.category,
            "status": form.status,
            "paused": form.paused,
            "parameters": None if form.shape is None else msgspec.to_builtins(form.shape),
        }
        yield _changed(names, name, "template", f"{template}/{LANGUAGE}", fields, at_ms)


def _changed(
    names: Names, account: str, subject: Any, id_: str, fields: dict[str, Any], at_ms: int
) -> AccountChanged:
    waba = names.account(account)
    return AccountChanged(
        event_id=f"{waba}:{subject}:{id_}:{at_ms}", at_ms=at_ms, waba_id=waba, subject=subject, id=id_, fields=fields
    )  # fmt: skip


def _number(case: Case, number: str) -> dict[str, Any]:
    spec = case.accounts[case.numbers[number]].numbers.get(number)
    known = {"registered": True, "status": "CONNECTED", "paused": False, "known": True}
    return known if spec is None else spec.model_dump()


def _templates(account: AccountSpec) -> dict[str, TemplateSpec]:
    known = {name: TemplateSpec(category=category) for name, category in TEMPLATES.items()}
    return known | account.templates
