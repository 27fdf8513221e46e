"""The web page: facts and tallies in, HTML out. Pure. All text is escaped by construction (`markup`)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from services.console import view
from services.console.markup import Markup, join, tag
from services.console.tally import COUNTED, DayLine, Month, by_day, counted, free_tier_words, waiting_words
from shared.accounts import AccountFacts, Budget

_GOOD = frozenset({"valid", "active", "APPROVED", "CONNECTED", "GREEN"})
_BAD = frozenset(
    {
        "missing",
        "failing",
        "disabled",
        "deleted",
        "REJECTED",
        "DISABLED",
        "RED",
        "BANNED",
        "RESTRICTED",
        "FLAGGED",
    }
)
_WARN = frozenset(
    {"PENDING", "PAUSED", "YELLOW", "DISCONNECTED", "DECLINED", "IN_APPEAL", "paused", "not registered"}
)


class Page(NamedTuple):
    """What the page shows. `months` maps an account to its month, or to None when billing did not answer."""

    facts: AccountFacts
    months: Mapping[str, Month | None]
    links: Mapping[str, str]
    now: str


def render(page: Page) -> str:
    """The whole document."""
    shown = view.accounts(page.facts)
    body = [_account(account, page.months.get(account["id"])) for account in shown["accounts"]]
    nothing = tag("section", "No account is set up yet: run ", tag("code", "wam apply FILE"), ".")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", "WhatsApp middleware"),
        tag("link", rel="stylesheet", href="/style.css"),
    )
    links = tag("nav", *(tag("a", name, href=url, rel="noreferrer") for name, url in page.links.items()))
    return "<!doctype html>\n" + tag(
        "html",
        head,
        tag(
            "body",
            tag(
                "header",
                tag("h1", "WhatsApp middleware"),
                tag("span", f"facts revision {shown['revision']}", class_="dim"),
                links,
            ),
            tag("main", *(body or [nothing])),
            tag(
                "footer",
                f"As of {page.now}. The same as JSON: ",
                tag("a", "/v1/accounts", href="/v1/accounts"),
            ),
        ),
        lang="en",
    )


def _account(account: Mapping[str, Any], month: Month | None) -> Markup:
    set_up = "status" in account
    marks = [account["status"], f"payment {account['payment_method']}"] if set_up else ["not set up"]
    if account.get("paused"):
        marks.append("paused")
    marks += [f"{category} paused" for category in account.get("paused_categories", ())]
    return tag(
        "section",
        tag(
            "div",
            tag("h2", account.get("name") or account["id"]),
            tag("code", account["id"]) if account.get("name") else None,
            *(_pill(mark) for mark in marks),
            class_="head",
        ),
        tag("dl", *_facts(account), class_="facts") if set_up else None,
        *(_growth(account["growth"]) if set_up else ()),
        tag("h3", "Numbers"),
        _table(
            ("Number", "Id", "Status", "Quality", "Name", "Messages/s", "Token", ""),
            [_number(number) for number in account["numbers"]],
        ),
        tag("h3", "Templates"),
        _table(
            ("Template", "Language", "Category", "Status", "Quality", ""),
            [_template(template) for template in account["templates"]],
        ),
        tag("h3", f"Tally {month.tally.month}" if month else "Tally"),
        *_tally(month),
    )


def _facts(account: Mapping[str, Any]) -> Iterator[Markup]:
    facts = {
        "Regime": account["regime"],
        "Currency": account["currency"],
        "Time zone": account["timezone"],
        "New users in 24 h": view.limit(account["messaging_limit"]),
        "Business verified": "yes" if account["business_verified"] else "no",
        "Located in": account["primary_location"],
        "Budgets a month": view.budgets(
            msgspec.convert(account["budgets"], list[Budget]), account["currency"]
        )
        or None,
        "Kept from marketing": f"{account['marketing_reserve_percent']} % of the limit"
        if account["marketing_reserve_percent"]
        else None,
        "Marketing": _marketing(account),
        "Restrictions": view.restrictions(account["restrictions"]),
        "Meta's review": account["review"],
        "Last alert": account["alert"],
        "Paused because": account["pause_reason"] if _held(account) else None,
    }
    for name, value in facts.items():
        if value is not None:
            yield tag("div", tag("dt", name), tag("dd", value))


def _marketing(account: Mapping[str, Any]) -> str | None:
    if account["marketing_messages_api"]:
        return "by the Marketing Messages API"
    return "refused on /messages" if account["marketing_on_cloud_api_disabled"] else None


def _held(account: Mapping[str, Any]) -> bool:
    return account["paused"] or bool(account["paused_categories"])


def _growth(growth: Mapping[str, Any]) -> Iterator[Markup]:
    if growth["next_limit"] is None:
        return
    yield tag("h3", f"Growth from {view.limit(growth['limit'])} to {view.limit(growth['next_limit'])}")
    yield tag("ul", *(_step(*step) for step in growth["steps"]), class_="steps")


def _step(text: str, done: bool | None) -> Markup:
    mark = {True: ("good", "done"), False: ("warn", "to do"), None: ("dim", "not known here")}[done]
    return tag("li", tag("span", mark[1], class_=f"pill {mark[0]}"), tag("span", text))


def _number(number: Mapping[str, Any]) -> Sequence[object]:
    marks = [
        mark
        for mark, holds in (
            ("default number", number["default"]),
            ("not registered", not number["registered"]),
            ("paused", number["paused"]),
            (number["security_event"], number["security_event"]),
        )
        if holds
    ]
    return (
        number["display_phone_number"] or "—",
        tag("code", number["id"]),
        _pill(number["status"]),
        _pill(number["quality"]),
        f"{number['verified_name'] or '—'} ({number['name_status']})",
        number["throughput"],
        tag("code", number["token"]),
        _marks(marks, number),
    )


def _marks(marks: Sequence[str], subject: Mapping[str, Any]) -> Markup:
    """The marks of a row, and why it is paused if it is."""
    why = subject["pause_reason"] if subject["paused"] else None
    return join(*(_pill(mark) for mark in marks), why and tag("span", why, class_="dim"))


def _template(template: Mapping[str, Any]) -> Sequence[object]:
    return (
        template["name"],
        template["language"],
        template["category"],
        _pill(template["status"]),
        _pill(template["quality"]),
        _marks(["paused"] if template["paused"] else [], template),
    )


def _tally(month: Month | None) -> Iterator[Markup]:
    if month is None:
        yield tag("p", "Billing does not answer.", class_="warn")
        return
    tally = month.tally
    if tally.totals:
        rows = [(category, *counted(totals)) for category, totals in sorted(tally.totals.items())]
        yield _table(("Category", *COUNTED), rows, numeric=frozenset(range(1, 6)))
    else:
        yield tag("p", "Nothing counted yet.", class_="dim")
    for words in (*free_tier_words(tally), waiting_words(tally)):
        if words is not None:
            yield tag("p", words, class_="dim")
    if month.days:
        yield tag("h3", "Days")
        yield _days(month.days)


def _days(lines: Sequence[DayLine]) -> Markup:
    """One row a day, with a bar of its units as a share of the busiest day's."""
    days = by_day(lines)
    most = max(max(totals.free + totals.paid for totals in days.values()), 1)
    rows = [
        (day, *counted(totals), tag("meter", max=str(most), value=str(max(0, totals.free + totals.paid))))
        for day, totals in days.items()
    ]
    return _table(("Day", *COUNTED, "Units"), rows, numeric=frozenset(range(1, 6)))


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[object]], numeric: frozenset[int] = frozenset()
) -> Markup:
    if not rows:
        return tag("p", "none", class_="dim")

    classes = dict.fromkeys(numeric, "number") | ({len(heads) - 1: "marks"} if not heads[-1] else {})

    def cells(name: str, row: Sequence[object]) -> Markup:
        return tag(
            "tr",
            *(
                tag(name, cell, class_=classes[column]) if column in classes else tag(name, cell)
                for column, cell in enumerate(row)
            ),
        )

    return tag("table", tag("thead", cells("th", heads)), tag("tbody", *(cells("td", row) for row in rows)))


def _pill(word: str) -> Markup:
    last = "paused" if word.endswith(" paused") else word.removeprefix("payment ")
    tone = "good" if last in _GOOD else "bad" if last in _BAD else "warn" if last in _WARN else "dim"
    return tag("span", word, class_=f"pill {tone}")
