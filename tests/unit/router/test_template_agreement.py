"""The checks of form and fit, and the fake Meta's, each written without the other, come to the same on random messages."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.template_shape import message_problems
from services.simulator.accounts import Template
from services.simulator.errors import GraphError
from services.simulator.messages import Send, parse
from services.simulator.objections import template_fault
from shared.message_content import content_problems
from shared.template_definition import read
from tests.unit.templates import Definition, Json, definitions, fitting, mutations

pytestmark = pytest.mark.slow

SCALARS: list[Any] = [
    *(None, True, 0, 1, 9, 10, "0", "1", "", "text", "image", "currency", "url", "quick_reply", "NOBODY"),
    *(
        "x" * 16,
        "x" * 61,
        "x" * 257,
        "x" * 1025,
        "x" * 15,
        "x" * 60,
        "x" * 256,
        "x" * 1024,
        "a\nb",
        "a    b",
        "a     b",
        [],
        {},
        [{}],
        {"id": "1"},
        1.5,
    ),
]


def agreed(definition: Definition, template: Json) -> None:
    message = {
        "messaging_product": "whatsapp",
        "to": "+4915112345678",
        "type": "template",
        "template": template,
    }
    ours: list[object] = [*content_problems(message)]
    ours += message_problems(read(*definition), json.dumps(message).encode())
    fake = Template(
        name="n",
        language="de",
        category="marketing",
        components=definition.components,
        parameter_format=definition.parameter_format,
    )
    sent = parse(json.loads(json.dumps(message)))
    fault = template_fault(sent, fake, now=0) if isinstance(sent, Send) else sent
    assert fault is None or isinstance(fault, GraphError)
    assert (ours == []) == (fault is None), (ours, fault, template)


@given(st.data())
def test_they_agree_on_fitting_messages_and_on_single_faults(data: st.DataObject) -> None:
    definition = data.draw(definitions())
    template = data.draw(fitting(definition))
    agreed(definition, template)
    for wrong in mutations(template, read(*definition).named):
        agreed(definition, wrong.template)


@settings(max_examples=200)
@given(st.data())
def test_they_agree_on_messages_of_another_template(data: st.DataObject) -> None:
    agreed(data.draw(definitions()), data.draw(fitting(data.draw(definitions()))))


@settings(max_examples=300)
@given(st.data())
def test_they_agree_when_any_place_of_a_fitting_message_holds_anything(data: st.DataObject) -> None:
    definition = data.draw(definitions())
    template = data.draw(fitting(definition))
    places = list(_places(template["components"]))
    if places:
        holder, key = data.draw(st.sampled_from(places))
        if data.draw(st.booleans()):
            holder[key] = data.draw(st.sampled_from(SCALARS))
        else:
            del holder[key]
    agreed(definition, template)


def _places(value: Any) -> Any:
    """Every (container, key) in a message's components."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from _places(inner)
