"""The web page: facts and tallies in, HTML out. Pure. All text is escaped by construction (`markup`)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from services.console import view
from services.console.markup import Markup, join, tag
from services.console.tally import Tally, amounts
from shared.accounts import UNLIMITED, AccountFacts

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
    """What the page shows. `tallies` maps an account to its month's tally, or to None when billing did not answer."""

    facts: AccountFacts
    tallies: Mapping[str, Tally | None]
    links: Mapping[str, str]
    now: str


def render(page: Page) -> str:
    """The whole document."""
    shown = view.accounts(page.facts)
    body = [_account(account, page.tallies.get(account["id"])) for account in shown["accounts"]]
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


def _account(account: Mapping[str, Any], tally: Tally | None) -> Markup:
    set_up = "status" in account
    marks = [account["status"], f"payment {account['payment_method']}"] if set_up else ["not set up"]
    if account.get("paused"):
        marks.append("paused")
    return tag(
        "section",
        tag(
            "div",
            tag("h2", account.get("name") or account["id"]),
            tag("code", account["id"]),
            *(_pill(mark) for mark in marks),
            class_="head",
        ),
        tag("dl", *_facts(account), class_="facts") if set_up else None,
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
        tag("h3", f"Tally {tally.month}" if tally else "Tally"),
        _tally(tally),
    )


def _facts(account: Mapping[str, Any]) -> Iterator[Markup]:
    limit = account["messaging_limit"]
    facts = {
        "Regime": account["regime"],
        "Currency": account["currency"],
        "Time zone": account["timezone"],
        "New users in 24 h": "unlimited" if limit == UNLIMITED else f"{limit:,}",
        "Business verified": "yes" if account["business_verified"] else "no",
        "Restrictions": view.shown(account["restrictions"]),
    }
    for name, value in facts.items():
        yield tag("div", tag("dt", name), tag("dd", value))


def _number(number: Mapping[str, Any]) -> Sequence[object]:
    marks = [
        mark
        for mark, holds in (
            ("default", number["default"]),
            ("not registered", not number["registered"]),
            ("paused", number["paused"]),
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
        join(*(_pill(mark) for mark in marks)),
    )


def _template(template: Mapping[str, Any]) -> Sequence[object]:
    return (
        template["name"],
        template["language"],
        template["category"],
        _pill(template["status"]),
        _pill(template["quality"]),
        _pill("paused") if template["paused"] else None,
    )


def _tally(tally: Tally | None) -> Markup:
    if tally is None:
        return tag("p", "Billing does not answer.", class_="warn")
    if not tally.totals:
        return tag("p", "Nothing counted yet.", class_="dim")
    rows = [
        (category, totals.free, totals.paid, amounts(totals))
        for category, totals in sorted(tally.totals.items())
    ]
    return _table(("Category", "Free", "Paid", "Amount"), rows, numeric=frozenset({1, 2, 3}))


def _table(
    heads: Sequence[str], rows: Sequence[Sequence[object]], numeric: frozenset[int] = frozenset()
) -> Markup:
    if not rows:
        return tag("p", "none", class_="dim")

    def cells(name: str, row: Sequence[object]) -> Markup:
        return tag(
            "tr",
            *(
                tag(name, cell, class_="number") if column in numeric else tag(name, cell)
                for column, cell in enumerate(row)
            ),
        )

    return tag("table", tag("thead", cells("th", heads)), tag("tbody", *(cells("td", row) for row in rows)))


def _pill(word: str) -> Markup:
    last = word.removeprefix("payment ")
    tone = "good" if last in _GOOD else "bad" if last in _BAD else "warn" if last in _WARN else "dim"
    return tag("span", word, class_=f"pill {tone}")
