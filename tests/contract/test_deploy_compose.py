"""The compose file: the services' settings, the names it refers to, and that its Kafka and Redis are set up as ours must be."""

import os
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
import yaml

from deploy.local.kafka import KAFKA_VERSION
from tests.contract.test_deploy_k8s import PROCESSES, accepted

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
COMPOSE: Final[dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]
OURS: Final = {name: service for name, service in SERVICES.items() if "build" in service}


def filled(text: str) -> str:
    """`${NAME:-default}` as compose fills it in an empty environment."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


@pytest.mark.parametrize("name", OURS)
def test_a_service_accepts_its_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [variable for variable in os.environ if variable.startswith("WA_")]:
        monkeypatch.delenv(variable)
    env = {variable: filled(value) for variable, value in OURS[name]["environment"].items()}
    accepted(OURS[name]["command"][0], env, monkeypatch)


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_runs_with_the_least_rights(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["tmpfs"] == ["/tmp"]


def test_all_processes_are_there() -> None:
    modules = {service["command"][0] for service in OURS.values()}
    assert modules == PROCESSES | {"services.console.cli"}


def test_addresses_dependencies_and_volumes_name_what_exists() -> None:
    for service in SERVICES.values():
        assert set(service.get("depends_on", ())) <= set(SERVICES)
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
    for service in OURS.values():
        for variable, value in service["environment"].items():
            if variable.endswith("_URL"):
                assert urlsplit(value).hostname in SERVICES, variable


def test_kafka_is_the_version_that_is_tested_and_creates_no_topic_by_itself() -> None:
    kafka = SERVICES["kafka"]
    assert kafka["image"] == f"apache/kafka:{KAFKA_VERSION}"
    assert kafka["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_redis_evicts_nothing_and_keeps_what_it_acknowledges() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes --appendfsync always" in command
    assert "--maxmemory-policy noeviction" in command


def test_ports_are_published_on_loopback_only() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_prometheus_scrapes_every_service_on_the_image_s_metrics_port() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text("utf-8"))
    (port,) = re.findall(r"WA_METRICS_PORT=(\d+)", (DEPLOY / "Dockerfile").read_text("utf-8"))
    scraped = {
        scrape["job_name"]: target
        for scrape in config["scrape_configs"]
        for target in scrape["static_configs"][0]["targets"]
    }
    assert scraped == {name: f"{name}:{port}" for name in OURS if name != "topics"}
