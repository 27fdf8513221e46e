"""The table of services: whole, on different ports, reachable where the others look."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from deploy.local.errors import StackError
from deploy.local.services import (
    TABLE,
    ServicePorts,
    chosen,
    operator_settings,
    service_specs,
    shared_settings,
    urls,
    variable,
)

SHARED = shared_settings(kafka_bootstrap="k:1", redis_url="redis://r:1", directory=Path("/instance"))


@pytest.mark.parametrize("name", TABLE)
def test_every_service_of_the_table_can_be_run(name: str) -> None:
    assert find_spec(f"services.{name}.__main__") is not None


def test_default_ports_are_all_different() -> None:
    ports = vars(ServicePorts())
    assert len(set(ports.values())) == len(ports)


def test_each_port_has_a_variable_of_its_own() -> None:
    names = {variable(name) for name in vars(ServicePorts())}
    assert len(names) == len(vars(ServicePorts()))
    assert {"WA_INGRESS_PORT", "WA_METRICS_ROUTER_PORT"} <= names
    assert ServicePorts.fixed({"WA_METRICS_ROUTER_PORT": "9999"}) == ServicePorts(metrics_router=9999)


def test_each_service_is_asked_on_its_own_metrics_port() -> None:
    specs = service_specs(SHARED, ServicePorts())
    assert [spec.name for spec in specs] == list(TABLE)
    assert len({spec.ready_url for spec in specs}) == len(TABLE)
    for spec in specs:
        assert f":{spec.env['WA_METRICS_PORT']}/" in spec.ready_url


def test_all_services_share_kafka_redis_and_the_clock() -> None:
    for spec in service_specs(SHARED, ServicePorts()):
        assert spec.env["WA_KAFKA_BOOTSTRAP"] == "k:1"
        assert spec.env["WA_REDIS_URL"] == "redis://r:1"
        assert spec.env["WA_CLOCK_FILE"] == "/instance/clock"


def test_the_simulator_and_ingress_agree_on_the_secret_and_the_place() -> None:
    ports = ServicePorts(ingress=18_080)
    by_name = {spec.name: spec.env for spec in service_specs(SHARED, ports)}
    assert by_name["simulator"]["WA_APP_SECRET"] == by_name["ingress"]["WA_APP_SECRET"]
    assert by_name["simulator"]["WA_WEBHOOK_URL"].startswith(urls(ports)["ingress"])
    assert by_name["sender"]["WA_GRAPH_URL"] == urls(ports)["simulator"]


def test_an_operator_asks_the_same_kafka_and_the_fake_meta() -> None:
    ports = ServicePorts(simulator=18_070)
    settings, sender = operator_settings(SHARED, ports), service_specs(SHARED, ports, ("sender",))[0].env
    for name in ("WA_KAFKA_BOOTSTRAP", "WA_CLOCK_FILE", "WA_GRAPH_URL", "WA_ACCESS_TOKEN"):
        assert settings[name] == sender[name]


def test_services_can_be_chosen_and_keep_the_order_of_the_table() -> None:
    assert chosen({}) == TABLE
    assert chosen({"WA_SERVICES": "none"}) == ()
    assert chosen({"WA_SERVICES": "router, simulator"}) == ("simulator", "router")


def test_a_service_that_does_not_exist_is_named() -> None:
    with pytest.raises(StackError, match="rooter"):
        chosen({"WA_SERVICES": "rooter"})
