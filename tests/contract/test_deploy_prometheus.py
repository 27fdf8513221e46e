"""Alert rules and scrape configurations, by promtool; and each name in the rules against the registry of metrics."""

import re
import subprocess
from pathlib import Path
from typing import Any, Final, get_args

import pytest
import yaml

from deploy.checks import promtool
from deploy.prometheus.names import Series, problems, samples
from services.push.answers import Outcome
from services.simulator.metrics import SimulatorMetrics
from shared.error_table import Label
from shared.metrics import REGISTRY, WEBHOOK_VERDICTS
from tests.conftest import missing

PROMETHEUS: Final = Path(__file__).parents[2] / "deploy" / "prometheus"
JOBS: Final = (
    "ingress", "intake", "edge", "router", "sender", "push", "ledger", "tallies", "console", "simulator",
)  # fmt: skip


def known_series() -> dict[str, Series]:
    """What may be asked for: our metrics, the simulator's, `up`, and what the rules record."""
    recorded = {rule["record"]: Series({"group": frozenset()}) for rule in rules() if "record" in rule}
    # This one's children come from the error table, when the sender starts.
    errors = {"wa_send_errors_total": Series({"label": frozenset(get_args(Label))})}
    # And these when an endpoint does, or with the apps that ingress is set up with.
    push = {
        f"wa_push_{name}": Series({"endpoint": frozenset()})
        for name in ("oldest_seconds", "lag_records", "breaker_open", "disabled", "events_total", "parked_total", "expired_records_total")
    } | {"wa_push_tries_total": Series({"endpoint": frozenset(), "outcome": frozenset(get_args(Outcome))})}  # fmt: skip
    apps = {"wa_webhook_requests_total": Series({"app": frozenset(), "verdict": frozenset(WEBHOOK_VERDICTS)})}
    ours = samples(REGISTRY) | samples(SimulatorMetrics().registry)
    return ours | {"up": Series()} | recorded | errors | push | apps


def rules() -> list[dict[str, Any]]:
    text = (PROMETHEUS / "rules.yaml").read_text("utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def promtool_says(*arguments: str | Path) -> str:
    """Runs promtool and gives what it wrote; fails the test when promtool does."""
    tool = promtool()
    if tool is None:
        missing("promtool is missing: `make dashboards-check` gets it where apt-get is")
    done = subprocess.run([tool, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_asks_only_for_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    wrong, labels = problems(rule["expr"], known_series(), JOBS)
    assert wrong == []
    named = set(re.findall(r"\$labels\.(\w+)", str(rule.get("annotations", ""))))
    assert named <= labels | set(rule.get("labels", {}))


def test_every_alert_says_how_urgent_it_is_what_it_means_and_what_to_do() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "action"}, rule["alert"]


def test_the_runbook_has_a_section_for_each_alert_and_for_no_other() -> None:
    text = (PROMETHEUS.parents[1] / "docs" / "runbook.md").read_text("utf-8")
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == [r["alert"] for r in rules() if "alert" in r]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("rate(wa_webhook_request_total[5m])", "no such metric: wa_webhook_request_total"),
        ("rate(wa_webhook_requests[5m])", "no such metric: wa_webhook_requests"),
        ('wa_oldest_unsent_seconds{category="otp"}', "wa_oldest_unsent_seconds: category is never 'otp'"),
        ('wa_queued_commands{kind="utility"}', "wa_queued_commands has no label kind"),
        ('wa_webhook_seconds_bucket{le="0.3"}', "wa_webhook_seconds_bucket: le is never '0.3'"),
        ('up{job="billing"}', "up: job is never 'billing'"),
        ("sum by (reasons) (rate(wa_decisions_total[5m]))", "no label reasons in"),
        ("histogram_quantile(0.5, sum(rate(wa_webhook_seconds_bucket[5m])))", "no label le in"),
        ("sum(rate(wa_decisions_total[5m])", "not PromQL"),
    ],
)
def test_a_misspelt_name_is_found(expression: str, reason: str) -> None:
    wrong, _ = problems(expression, known_series(), JOBS)
    assert any(text.startswith(reason) for text in wrong), wrong


def test_promtool_accepts_the_rules_and_the_local_configuration() -> None:
    assert "SUCCESS" in promtool_says("check", "config", PROMETHEUS / "prometheus.yaml")


@pytest.mark.parametrize("tests", ["rules.test.yaml", "rules-of-days.test.yaml"])
def test_promtool_plays_the_alerts_as_their_tests_say(tests: str) -> None:
    assert "SUCCESS" in promtool_says("test", "rules", PROMETHEUS / tests)


def test_promtool_accepts_the_relabelling_of_the_cluster_s_configuration(tmp_path: Path) -> None:
    config = yaml.safe_load((PROMETHEUS / "kubernetes.yaml").read_text("utf-8"))
    config["rule_files"] = [str(PROMETHEUS / "rules.yaml")]
    for scrape in config["scrape_configs"]:
        # Debian builds promtool without the discovery of Kubernetes.
        assert scrape.pop("kubernetes_sd_configs") == [{"role": "pod"}]
        scrape["static_configs"] = [{"targets": ["pod:9100"]}]
    path = tmp_path / "prometheus.yaml"
    path.write_text(yaml.safe_dump(config))
    assert "SUCCESS" in promtool_says("check", "config", path)
