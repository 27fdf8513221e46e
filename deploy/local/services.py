"""Our services on one machine, as data: which run, on which ports, with which settings. Pure.

To add a service or a setting, change `TABLE` or `_settings`; `make up`, the demo and the tests read nothing else.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Self

from deploy.local.errors import StackError
from deploy.local.paths import REPOSITORY
from deploy.local.ports import LOOPBACK, free_ports, port_from

APP_SECRET: Final = "simulator-secret"
VERIFY_TOKEN: Final = "local-verify-token"
ACCESS_TOKEN: Final = "simulator-token"
ADMIN_TOKEN: Final = "local-admin-token"
EDGE_TOKEN: Final = "local-edge-token"
PARTITIONS: Final = 8

TABLE: Final = (
    "simulator",
    "ingress",
    "ingress.intake",
    "ingress.edge",
    "router",
    "sender",
    "billing",
    "billing.tallies",
    "console",
)
"""Modules below `services`, in start order; they are stopped in reverse."""


@dataclass(frozen=True)
class ServicePorts:
    """Ports of the services; each has a metrics port, on which `/ready` answers too."""

    ingress: int = 8080
    simulator: int = 8070
    console: int = 8090
    tallies: int = 8085
    edge: int = 8081
    metrics_ingress: int = 9101
    metrics_router: int = 9102
    metrics_sender: int = 9103
    metrics_billing: int = 9104
    metrics_console: int = 9105
    metrics_simulator: int = 9106
    metrics_tallies: int = 9107
    metrics_intake: int = 9108
    metrics_edge: int = 9109
    metrics_push: int = 9110

    @classmethod
    def free(cls) -> Self:
        """Chooses ports nobody listens on now."""
        return cls(*free_ports(len(fields(cls))))

    @classmethod
    def fixed(cls, environ: Mapping[str, str]) -> Self:
        """Takes the default ports, each overridable: see `variable`."""
        return cls(**{f.name: port_from(environ, variable(f.name), int(str(f.default))) for f in fields(cls)})

    def metrics(self, service: str) -> int:
        """Gives the metrics port of a service of `TABLE`."""
        port: int = getattr(self, f"metrics_{service.rpartition('.')[2]}")
        return port


@dataclass(frozen=True)
class ServiceSpec:
    """One process: `python -m services.<name>` with `env` added to the environment."""

    name: str
    env: Mapping[str, str]
    ready_url: str


def variable(port: str) -> str:
    """Names the environment variable of a port: `WA_INGRESS_PORT`, `WA_METRICS_ROUTER_PORT` and so on."""
    return f"WA_{port.upper()}_PORT"


def chosen(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Gives the services that `WA_SERVICES` names (comma-separated; `none` for no service), or all.

    Raises:
        StackError: it names one that is not in `TABLE`.
    """
    text = environ.get("WA_SERVICES", "")
    if not text:
        return TABLE
    names = set() if text == "none" else {name.strip() for name in text.split(",")}
    if unknown := names - set(TABLE):
        raise StackError(
            f"WA_SERVICES names no service of ours: {', '.join(sorted(unknown))}; there are {', '.join(TABLE)}"
        )
    return tuple(name for name in TABLE if name in names)


def shared_settings(*, kafka_bootstrap: str, redis_url: str, directory: Path) -> dict[str, str]:
    """Gives the settings that all services of an instance have; its clock lies in `directory`."""
    return {
        "WA_KAFKA_BOOTSTRAP": kafka_bootstrap,
        "WA_REDIS_URL": redis_url,
        "WA_TOPIC_PREFIX": "wa.",
        "WA_REDIS_NAMESPACE": "wa",
        "WA_PARTITIONS": str(PARTITIONS),
        "WA_REPLICATION": "1",
        "WA_INSTANCE": "0",
        "WA_CLOCK_FILE": str(directory / "clock"),
        # Faust makes a folder at its start even though its table lives in memory.
        "APP_DATADIR": str(directory / "tallies"),
    }


def service_specs(
    shared: Mapping[str, str], ports: ServicePorts, names: tuple[str, ...] = TABLE
) -> list[ServiceSpec]:
    """Gives the processes of `names`; where a service has a setting of its own, that wins over `shared`."""
    return [
        ServiceSpec(
            name=name,
            env={**shared, "WA_METRICS_PORT": str(ports.metrics(name)), **_settings(name, ports)},
            ready_url=f"http://{LOOPBACK}:{ports.metrics(name)}/ready",
        )
        for name in names
    ]


def operator_settings(shared: Mapping[str, str], ports: ServicePorts) -> dict[str, str]:
    """Gives the settings with which `wam` works on an instance, the fake Meta in the place of Meta."""
    return {
        **shared,
        "WA_GRAPH_URL": f"http://{LOOPBACK}:{ports.simulator}",
        "WA_ACCESS_TOKEN": ACCESS_TOKEN,
        "WA_APP_SECRET": APP_SECRET,
        "WA_TALLIES_URL": f"http://{LOOPBACK}:{ports.tallies}",
    }


def urls(ports: ServicePorts) -> dict[str, str]:
    """Gives where a person or a client looks."""
    return {
        "ingress": f"http://{LOOPBACK}:{ports.ingress}",
        "edge": f"http://{LOOPBACK}:{ports.edge}",
        "console": f"http://{LOOPBACK}:{ports.console}",
        "simulator": f"http://{LOOPBACK}:{ports.simulator}",
        "tallies": f"http://{LOOPBACK}:{ports.tallies}",
    } | {f"metrics {name}": f"http://{LOOPBACK}:{ports.metrics(name)}/metrics" for name in TABLE}


def _settings(name: str, ports: ServicePorts) -> dict[str, str]:
    own = {
        "simulator": {
            "WA_HTTP_PORT": str(ports.simulator),
            "WA_WEBHOOK_URL": f"http://{LOOPBACK}:{ports.ingress}/webhooks",
            "WA_APP_SECRET": APP_SECRET,
            "WA_ACCESS_TOKEN": ACCESS_TOKEN,
        },
        "ingress": {
            "WA_HTTP_PORT": str(ports.ingress),
            "WA_APP_SECRET": APP_SECRET,
            "WA_VERIFY_TOKEN": VERIFY_TOKEN,
            "WA_ACCESS_TOKEN": ACCESS_TOKEN,
        },
        "ingress.edge": {
            "WA_HTTP_PORT": str(ports.edge),
            "WA_EDGE_TOKENS_FILE": str(REPOSITORY / "deploy" / "local" / "edge-tokens.yaml"),
            "WA_GRAPH_URL": f"http://{LOOPBACK}:{ports.simulator}",
            "WA_ACCESS_TOKEN": ACCESS_TOKEN,
            "WA_APP_SECRET": APP_SECRET,
        },
        "sender": {
            "WA_GRAPH_URL": f"http://{LOOPBACK}:{ports.simulator}",
            "WA_ACCESS_TOKEN": ACCESS_TOKEN,
            "WA_APP_SECRET": APP_SECRET,
        },
        "billing.tallies": {"WA_TALLIES_PORT": str(ports.tallies)},
        "console": {
            "WA_HTTP_PORT": str(ports.console),
            "WA_ADMIN_TOKEN": ADMIN_TOKEN,
            "WA_TALLIES_URL": f"http://{LOOPBACK}:{ports.tallies}",
            "WA_LINKS": json.dumps(urls(ports)),
        },
    }
    return own.get(name, {})
