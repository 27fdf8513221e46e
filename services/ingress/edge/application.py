"""The edge's aiohttp application: each call of the table bound to its handler behind the door, and the media calls of others beside them."""

from collections.abc import Mapping, Sequence

from aiohttp import web

from services.ingress.edge.bodies import LARGEST, json_answer
from services.ingress.edge.door import Door, Handler
from services.ingress.edge.messages import Messages
from services.ingress.edge.openapi import openapi
from services.ingress.edge.passing import Passing
from services.ingress.edge.requests_api import Requests
from services.ingress.edge.table import CALLS, NODE


def application(
    door: Door,
    messages: Messages,
    requests: Requests,
    passing: Passing,
    media: Sequence[web.RouteDef] = (),
) -> web.Application:
    """All routes.

    `media` ask for their scopes themselves. Files are asked for by their bare id, as numbers and templates are: what those of `media` that stand at `NODE` serve is
    asked for last, when the id is neither a number's nor a template's.
    """
    passing.media = {route.method: route.handler for route in media if route.path == NODE}
    handlers: Mapping[str, Handler] = {
        "messages": messages.messages,
        "marketing_messages": messages.marketing_messages,
        "post_requests": requests.post,
        "get_request": requests.get,
        "delete_request": requests.delete,
        "estimate": requests.estimate,
        "list_templates": passing.of_account,
        "post_template": passing.of_account,
        "delete_template": passing.of_account,
        "list_numbers": passing.of_account,
        "profile": passing.of_number,
        "get_node": passing.node,
        "post_node": passing.node,
        "delete_node": passing.node,
        "openapi": _openapi,
    }
    app = web.Application(middlewares=[door.elsewhere], client_max_size=LARGEST)
    for call in CALLS:
        handler = handlers[call.name]
        opened = (
            door.opened(handler, call.label, call.scope)
            if call.scope
            else door.open_to_all(handler, call.label)
        )
        app.router.add_route(call.method, call.path, opened)
    for route in media:
        if route.path != NODE:
            app.router.add_route(route.method, route.path, door.opened(route.handler, "media"))
    return app


async def _openapi(_: web.Request) -> web.Response:
    return json_answer(openapi())
