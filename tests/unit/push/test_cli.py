"""`wam push`, as far as it needs no Kafka: checking a file, and Meta's handshake."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from aiohttp import web
from typer.testing import CliRunner

from services.push.cli import app

TOKEN = "let-me-in"
BOT: dict[str, Any] = {
    "name": "bot",
    "secrets": [{"env": "BOT_SECRET"}],
    "format": "meta",
    "events": ["*"],
    "verify_token": {"env": "BOT_TOKEN"},
}


@pytest_asyncio.fixture
async def bot_url() -> AsyncIterator[str]:
    """A bot that shakes hands as Meta's documentation wants it."""

    async def shake(request: web.BaseRequest) -> web.Response:
        query = request.query
        if query["hub.mode"] != "subscribe" or query["hub.verify_token"] != TOKEN:
            return web.Response(status=403)
        return web.Response(text=query["hub.challenge"] if request.path == "/good" else "hello")

    runner = web.ServerRunner(web.Server(shake))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def wam(folder: Path, endpoint: dict[str, Any], *arguments: str, **env: str) -> Any:
    file = folder / "push.yaml"
    file.write_text(yaml.safe_dump({"endpoints": [endpoint]}))
    settings = {
        "WA_PUSH_ENDPOINTS_FILE": str(file),
        "WA_PUSH_ALLOW_PRIVATE": "true",
        "BOT_SECRET": "s",
        "BOT_TOKEN": TOKEN,
    }
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, env=settings | env)


async def test_a_file_whose_endpoints_can_be_told_is_good(tmp_path: Path) -> None:
    done = await wam(tmp_path, BOT | {"url": "https://bot.example/"}, "check")
    assert (done.exit_code, done.output) == (0, "1 endpoints, all can be told.\n")


@pytest.mark.parametrize(
    ("fields", "env", "said"),
    [
        ({}, {"BOT_SECRET": ""}, "variable BOT_SECRET is not set"),
        ({"events": ["billing.charge"]}, {}, "bot: events billing.charge have no form of Meta's"),
        ({}, {"WA_PUSH_ALLOW_PRIVATE": "false", "BOT_SECRET": "s"}, "bot.url: must be https"),
    ],
)
async def test_what_is_wrong_with_a_file_is_said(
    tmp_path: Path, fields: dict[str, Any], env: dict[str, str], said: str
) -> None:
    done = await wam(tmp_path, BOT | {"url": "http://bot.example/"} | fields, "check", **env)
    assert done.exit_code == 1
    assert said in done.output


@pytest.mark.parametrize(
    ("path", "token", "said"),
    [
        ("/good", TOKEN, "bot gave the challenge back."),
        ("/good", "wrong", "bot: answered with HTTP 403"),
        ("/other", TOKEN, "bot: answered with something else than the challenge"),
    ],
)
async def test_the_handshake_is_meta_s(
    tmp_path: Path, bot_url: str, path: str, token: str, said: str
) -> None:
    done = await wam(tmp_path, BOT | {"url": bot_url + path}, "verify", "bot", BOT_TOKEN=token)
    assert said in done.output
    assert done.exit_code == (0 if said.startswith("bot gave") else 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("redeliver", "bot"), "say which: --from, --event-id or --parked"),
        (("redeliver", "bot", "--parked", "--event-id", "x"), "--parked goes with --from alone"),
        (("redeliver", "bot", "--from", "yesterday"), "--from: Invalid isoformat string"),
        (("enable", "shop"), "no endpoint shop; there are bot"),
    ],
)
async def test_a_command_that_makes_no_sense_is_refused(
    tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = await wam(tmp_path, BOT | {"url": "https://bot.example/"}, *arguments)
    assert done.exit_code == 2
    assert said in done.output
