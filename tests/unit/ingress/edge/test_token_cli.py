"""`wam edge-token new` as an operator runs it."""

import json

import yaml
from typer.testing import CliRunner

from services.ingress.edge.token_cli import app
from services.ingress.edge.token_file import holder, read

RUN = CliRunner()


def test_the_entry_lets_in_whoever_has_the_token() -> None:
    made = RUN.invoke(app, ["new", "shop", "--number", "106", "--scope", "send", "--json"])
    assert made.exit_code == 0, made.output
    found = json.loads(made.stdout)
    entries = read(yaml.safe_dump({"tokens": [found["entry"]]}))
    entry = holder(found["token"], entries)
    assert entry is not None
    assert (entry.name, entry.numbers, entry.scopes) == ("shop", ("106",), frozenset({"send"}))
    assert found["token"] not in json.dumps(found["entry"])


def test_what_the_edge_would_not_read_is_refused_before_it_is_pasted() -> None:
    for arguments in (
        ["Shop", "--number", "1"],
        ["shop"],
        ["shop", "--number", "1", "--scope", "everything"],
    ):
        assert RUN.invoke(app, ["new", *arguments]).exit_code == 2
