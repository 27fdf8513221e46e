"""The ceiling of ingress and of the edge: an aiohttp handler that reads the body and answers 200. `python -m tests.bench.bare_handler PORT`."""

import sys

import uvloop
from aiohttp import web


async def handle(request: web.Request) -> web.Response:
    """Read, answer."""
    await request.read()
    return web.Response(text="ok")


async def app() -> web.Application:
    """One handler for every path."""
    made = web.Application()
    made.router.add_post("/{path:.*}", handle)
    return made


if __name__ == "__main__":
    uvloop.install()
    web.run_app(app(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
