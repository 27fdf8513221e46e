"""The Grafana dashboard: each PromQL expression against the registry of metrics, and the basics of its form."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.prometheus.names import problems
from tests.contract.test_deploy_prometheus import JOBS, known_series

GRAFANA: Final = Path(__file__).parents[2] / "deploy" / "grafana"
UNITS: Final = {"short", "s", "ops", "reqps", "percentunit", "none"}
DASHBOARD: Final[dict[str, Any]] = json.loads(
    (GRAFANA / "dashboards" / "wa-middleware.json").read_text("utf-8")
)
PANELS: Final[list[dict[str, Any]]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_only_for_metrics_and_labels_that_exist(panel: dict[str, Any]) -> None:
    known = known_series()
    assert panel["targets"]
    for target in panel["targets"]:
        wrong, labels = problems(target["expr"], known, JOBS)
        assert wrong == []
        assert set(re.findall(r"{{\s*(\w+)\s*}}", target["legendFormat"])) <= labels


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_has_a_unit_and_asks_the_chosen_data_source(panel: dict[str, Any]) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == chosen
    assert all(target["datasource"] == chosen for target in panel["targets"])
    references = [target["refId"] for target in panel["targets"]]
    assert len(set(references)) == len(references)


def test_panels_have_ids_and_titles_of_their_own() -> None:
    for name in ("id", "title"):
        values = [panel[name] for panel in DASHBOARD["panels"]]
        assert len(set(values)) == len(values)


def test_panels_lie_on_the_grid_and_cover_each_other_nowhere() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        covered = set(_cells(panel["gridPos"]))
        assert not covered & cells, panel["title"]
        assert all(0 <= x < 24 for x, _ in covered), panel["title"]
        cells |= covered


def test_the_dashboard_chooses_its_data_source_and_the_provisioned_one_is_there() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    text = (GRAFANA / "provisioning" / "datasources" / "prometheus.yaml").read_text("utf-8")
    assert variable["current"]["value"] in [source["uid"] for source in yaml.safe_load(text)["datasources"]]
    assert DASHBOARD["uid"] == "wa-middleware"


def _cells(position: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(position["x"], position["x"] + position["w"]):
        for y in range(position["y"], position["y"] + position["h"]):
            yield x, y
