"""The fake Meta refuses parameters that do not fit a template's components, with Meta's codes."""

from typing import Any

import pytest

from tests.unit.simulator.bench import Bench, template

pytestmark = pytest.mark.asyncio

INVOICE: dict[str, Any] = {
    "name": "invoice",
    "language": "en",
    "category": "utility",
    "components": [
        {"type": "HEADER", "format": "IMAGE"},
        {"type": "BODY", "text": "Hello {{1}}"},
        {"type": "BUTTONS", "buttons": [{"type": "URL", "text": "Pay", "url": "https://example.com/{{1}}"}]},
    ],
}
IMAGE = {"type": "header", "parameters": [{"type": "image", "image": {"id": "1"}}]}
BODY = {"type": "body", "parameters": [{"type": "text", "text": "Anna"}]}
PAY = {"type": "button", "sub_type": "url", "index": "0", "parameters": [{"type": "text", "text": "1"}]}
LONG = {"type": "body", "parameters": [{"type": "text", "text": "x" * 1025}]}
BROKEN = {"type": "body", "parameters": [{"type": "text", "text": "x\ny"}]}


async def invoice(bench: Bench, *components: object) -> int | None:
    """Send it; the code of the error."""
    body = template("invoice")
    body["template"]["components"] = list(components)
    code: int | None = (await bench.call(body))[1].get("error", {}).get("code")
    return code


@pytest.mark.parametrize(
    ("components", "code"),
    [
        ((IMAGE, BODY, PAY), None),
        ((PAY, BODY, IMAGE), None),
        ((IMAGE, PAY), 132000),
        ((BODY, PAY), 132012),
        ((IMAGE, BODY), 131008),
        ((IMAGE, LONG, PAY), 132005),
        ((IMAGE, BROKEN, PAY), 132018),
        ((IMAGE, {"type": "body", "parameters": "Anna"}, PAY), 100),
        ((IMAGE, BODY, {**PAY, "index": "7"}), 132018),
    ],
)
async def test_parameters_that_do_not_fit_are_refused_with_metas_code(
    bench: Bench, components: tuple[object, ...], code: int | None
) -> None:
    await bench.sim("PATCH", "/accounts/W1", {"templates": [INVOICE]})
    assert await invoice(bench, *components) == code


async def test_an_edited_template_is_judged_by_its_new_text(bench: Bench) -> None:
    await bench.sim("PATCH", "/accounts/W1", {"templates": [INVOICE]})
    value = {
        "message_template_name": "invoice",
        "message_template_language": "en",
        "message_template_element": "Hi",
    }
    webhook = {"waba_id": "W1", "field": "message_template_components_update", "value": value}
    await bench.sim("POST", "/webhooks", webhook)
    assert await invoice(bench, IMAGE, BODY, PAY) == 132000
    assert await invoice(bench, IMAGE, PAY) is None


async def test_a_definition_that_makes_no_sense_is_told_at_the_set_up(bench: Bench) -> None:
    wrong = {**INVOICE, "components": [{"type": "BUTTONS", "buttons": [{"type": "URL"}]}]}
    async with bench.http.patch("/sim/accounts/W1", json={"templates": [wrong]}) as answer:
        assert answer.status == 422
        assert "a URL button needs a url" in await answer.text()
