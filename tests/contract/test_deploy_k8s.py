"""The Kubernetes manifests: by Kubernetes' own schemas, by what they refer to, and by the settings of the services they start.

The base is checked as it is written, on every machine; base and overlay as kustomize renders them, where kustomize or kubectl is.
"""

import importlib
import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from deploy.checks import kustomize
from shared.pricing import PriceBook
from tests.conftest import missing
from tests.contract.test_deploy_prometheus import JOBS

ROOT: Final = Path(__file__).parents[2]
K8S: Final = ROOT / "deploy" / "k8s"
CONFIG: Final = ROOT / "config"
PRICES: Final = "../../../config"
"""The kustomization of the prices, as the base names it."""
PROCESSES: Final = {
    ".".join(file.parent.relative_to(ROOT).parts) for file in (ROOT / "services").rglob("__main__.py")
}
"""Every module of ours that is started by `python -m`."""
CALL_OUT: Final = {"edge", "sender", "push", "console"}
"""Who calls beyond the cluster: Meta, the object store, the endpoints of business systems."""
CONNECTIONS: Final = {
    "WA_REDIS_URL": "rediss://u:p@redis:6379/0",
    "WA_KAFKA_USERNAME": "u",
    "WA_KAFKA_PASSWORD": "p",
    "WA_LOG_KEY": "k",
}
"""The keys of the Secret wa-connections."""

Manifest = dict[str, Any]


def generated(folder: Path) -> list[Manifest]:
    """The ConfigMaps that a kustomization makes."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": generator["name"]},
            "data": dict(literal.split("=", 1) for literal in generator.get("literals", []))
            | {Path(file).name: (folder / file).read_text("utf-8") for file in generator.get("files", [])},
        }
        for generator in kustomization["configMapGenerator"]
    ]


def written_base() -> list[Manifest]:
    """The base's files as they are, with the ConfigMaps that its generator and that of the prices make."""
    kustomization = yaml.safe_load((K8S / "base" / "kustomization.yaml").read_text("utf-8"))
    made = generated(K8S / "base") + generated(CONFIG)
    files = [file for file in kustomization["resources"] if file != PRICES]
    assert sorted(files) == sorted({p.name for p in (K8S / "base").glob("*.yaml")} - {"kustomization.yaml"})
    texts = [(K8S / "base" / file).read_text("utf-8") for file in files]
    return [document for text in texts for document in yaml.safe_load_all(text)] + made


def rendered(folder: str) -> list[Manifest]:
    """What would be applied."""
    command = kustomize()
    if command is None:
        missing("neither kustomize nor kubectl is here: `make k8s-check` gets kustomize where go is")
    done = subprocess.run([*command, K8S / folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module", params=["base as written", "base", "overlays/example"])
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return written_base() if request.param == "base as written" else rendered(request.param)


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def workloads(manifests: list[Manifest]) -> list[tuple[Manifest, Manifest, Manifest]]:
    """Each workload with its pod's spec and its one container."""
    found = []
    for workload in of_kind(manifests, "Deployment", "StatefulSet", "Job"):
        pod = workload["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        found.append((workload, pod, container))
    return found


def selects(selector: dict[str, str], workload: Manifest) -> bool:
    labels: dict[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return selector.items() <= labels.items()


def environment(container: Manifest, manifests: list[Manifest]) -> dict[str, str]:
    """What a container's process would read."""
    maps = {m["metadata"]["name"]: m["data"] for m in of_kind(manifests, "ConfigMap")}
    env: dict[str, str] = {}
    for source in container["envFrom"]:
        if "secretRef" in source:
            assert source["secretRef"]["name"] == "wa-connections"
            env |= CONNECTIONS
        else:
            env |= maps[source["configMapRef"]["name"]]
    return env | {entry["name"]: entry.get("value", "router-0") for entry in container.get("env", [])}


def settings_of(module: str) -> type[BaseSettings]:
    """As all services name them: `ThisSettings` for `services.that.this`, in a `settings` of its own or of the package above."""
    package = module.removesuffix(".cli")
    above, _, name = package.rpartition(".")
    home = next(
        home for home in (f"{package}.settings", f"{above}.settings") if importlib.util.find_spec(home)
    )
    found: type[BaseSettings] = getattr(importlib.import_module(home), f"{name.capitalize()}Settings")
    return found


def every_settings() -> list[type[BaseSettings]]:
    """The settings of all there is, of parts that run in another one's process too."""
    files = (ROOT / "services").rglob("settings.py")
    modules = [
        importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts)) for file in files
    ]
    return [
        found
        for module in modules
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, BaseSettings)
    ]


def accepted(module: str, env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> BaseSettings:
    """The settings that a service reads from `env`, which holds none that nobody has."""
    # One ConfigMap serves all: what another service knows is no misspelling.
    known = {f"WA_{field.upper()}" for settings in every_settings() for field in settings.model_fields}
    assert {name for name in env if name.startswith("WA_")} <= known
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    return settings_of(module)()


def test_every_manifest_is_what_kubernetes_takes(manifests: list[Manifest]) -> None:
    document = json.loads((K8S / "schemas.json").read_text("utf-8"))
    definitions = document["$defs"]
    by_kind = {
        (definition["properties"]["apiVersion"]["enum"][0], name.rpartition(".")[2]): name
        for name, definition in definitions.items()
        if "enum" in definition.get("properties", {}).get("apiVersion", {})
    }
    for manifest in manifests:
        name = by_kind[manifest["apiVersion"], manifest["kind"]]
        schema = {"$ref": f"#/$defs/{name}", "$defs": definitions}
        errors = list(jsonschema.Draft202012Validator(schema).iter_errors(manifest))
        shown = [f"{error.json_path}: {error.message[:200]}" for error in errors]
        assert shown == [], f"{manifest['kind']} {manifest['metadata']['name']}"


def test_names_are_unique_within_a_kind(manifests: list[Manifest]) -> None:
    names = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(set(names)) == len(names)


def test_every_process_of_ours_runs_under_the_name_that_the_alerts_know(manifests: list[Manifest]) -> None:
    modules = {workload["metadata"]["name"]: c["args"][0] for workload, _, c in workloads(manifests)}
    assert modules.pop("topics") == "services.console.cli"
    assert set(modules.values()) == PROCESSES - {"services.simulator"}
    assert modules.keys() == set(JOBS) - {"simulator"}
    for workload, _, _ in workloads(manifests):
        assert selects({"app.kubernetes.io/component": workload["metadata"]["name"]}, workload)


def test_every_service_accepts_its_settings(manifests: list[Manifest]) -> None:
    for _, _, container in workloads(manifests):
        with pytest.MonkeyPatch.context() as monkeypatch:
            for name in [name for name in os.environ if name.startswith("WA_")]:
                monkeypatch.delenv(name)
            accepted(container["args"][0], environment(container, manifests), monkeypatch)


def test_no_manifest_holds_a_secret(manifests: list[Manifest]) -> None:
    assert of_kind(manifests, "Secret") == []
    secret = {
        f"WA_{name.upper()}"
        for settings in every_settings()
        for name, field in settings.model_fields.items()
        if field.annotation in (SecretStr, SecretStr | None)
    } | {"WA_REDIS_URL"}
    for manifest in of_kind(manifests, "ConfigMap"):
        assert not secret & manifest["data"].keys()
    for _, _, container in workloads(manifests):
        assert not [e["name"] for e in container.get("env", []) if e["name"] in secret and "value" in e]


def test_every_container_runs_with_the_least_rights_and_bounded_memory(manifests: list[Manifest]) -> None:
    for _, pod, container in workloads(manifests):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_every_service_is_probed_scraped_and_given_time_to_drain(manifests: list[Manifest]) -> None:
    for workload, pod, container in workloads(manifests):
        if workload["kind"] == "Job":
            continue
        port = {"port": "metrics"}
        assert container["livenessProbe"]["httpGet"] == {"path": "/live", **port}
        assert container["readinessProbe"]["httpGet"] == {"path": "/ready", **port}
        assert {"name": "metrics", "containerPort": 9100} in container["ports"]
        assert workload["spec"]["template"]["metadata"]["annotations"] == {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "9100",
            "prometheus.io/path": "/metrics",
        }
        drain_s = float(environment(container, manifests)["WA_DRAIN_S"])
        assert pod["terminationGracePeriodSeconds"] > 2 * drain_s


def test_consumers_of_a_group_are_static_members_under_their_pod_s_name(manifests: list[Manifest]) -> None:
    stateful = {workload["metadata"]["name"] for workload in of_kind(manifests, "StatefulSet")}
    assert stateful == {"intake", "edge", "router", "sender", "push", "ledger", "tallies"}
    named = {"name": "WA_INSTANCE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    for workload, _, container in workloads(manifests):
        assert (named in container.get("env", [])) == (workload["kind"] == "StatefulSet")


def test_what_reads_prices_has_all_of_them_mounted_over_the_images(
    manifests: list[Manifest], tmp_path: Path
) -> None:
    readers = set()
    maps = {m["metadata"]["name"]: m["data"] for m in of_kind(manifests, "ConfigMap")}
    for workload, pod, container in workloads(manifests):
        held = {v["name"]: maps[v["configMap"]["name"]] for v in pod["volumes"] if "configMap" in v}
        if "rates" not in held:
            continue
        readers.add(workload["metadata"]["name"])
        mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
        assert (mounts["regimes"]["mountPath"], mounts["regimes"]["subPath"]) == (
            "/app/config/regimes.yaml",
            "regimes.yaml",
        )
        assert mounts["rates"]["mountPath"] == "/app/config/rates"
        folder = tmp_path / workload["metadata"]["name"]
        (folder / "rates").mkdir(parents=True)
        (folder / "regimes.yaml").write_text(held["regimes"]["regimes.yaml"], "utf-8")
        for file, text in held["rates"].items():
            (folder / "rates" / file).write_text(text, "utf-8")
        assert PriceBook.load(folder) == PriceBook.load(CONFIG)
    assert readers == {"router", "ledger", "tallies", "console"}


def test_selectors_find_pods_and_ports_have_names_that_exist(manifests: list[Manifest]) -> None:
    running = [workload for workload, _, _ in workloads(manifests)]
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        assert selects(workload["spec"]["selector"]["matchLabels"], workload)
    for service in of_kind(manifests, "Service"):
        (workload,) = [w for w in running if selects(service["spec"]["selector"], w)]
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        names = {port["name"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= names
    for policy in of_kind(manifests, "NetworkPolicy"):
        assert [w for w in running if selects(policy["spec"]["podSelector"]["matchLabels"], w)]
    services = {service["metadata"]["name"] for service in of_kind(manifests, "Service")}
    for workload in of_kind(manifests, "StatefulSet"):
        assert workload["spec"]["serviceName"] in services
    for door in of_kind(manifests, "Ingress"):
        for rule in door["spec"]["rules"]:
            assert {path["backend"]["service"]["name"] for path in rule["http"]["paths"]} <= services
    guarded = [
        budget["spec"]["selector"]["matchLabels"] for budget in of_kind(manifests, "PodDisruptionBudget")
    ]
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        assert len([selector for selector in guarded if selects(selector, workload)]) == 1


def test_what_no_policy_names_is_refused(manifests: list[Manifest]) -> None:
    (refusal,) = [p for p in of_kind(manifests, "NetworkPolicy") if p["metadata"]["name"] == "refuse-all"]
    assert set(refusal["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & refusal["spec"].keys()
    selector = refusal["spec"]["podSelector"]["matchLabels"]
    assert all(selects(selector, workload) for workload, _, _ in workloads(manifests))


def test_each_door_is_open_to_those_it_is_for(manifests: list[Manifest]) -> None:
    policies = of_kind(manifests, "NetworkPolicy")

    def callers(name: str) -> list[dict[str, str] | None]:
        """The labels of the namespaces that reach a workload's `http`; None: the whole world."""
        (workload,) = [w for w, _, _ in workloads(manifests) if w["metadata"]["name"] == name]
        rules = [
            rule
            for policy in policies
            if selects(policy["spec"]["podSelector"]["matchLabels"], workload)
            for rule in policy["spec"].get("ingress", ())
            if {"port": "http", "protocol": "TCP"} in rule["ports"]
        ]
        return [
            source["namespaceSelector"]["matchLabels"] if source else None
            for rule in rules
            for source in rule.get("from", [None])
        ]

    assert callers("ingress") == [None]
    assert callers("edge") == [{"wa-middleware/business-systems": "true"}]
    assert callers("console") == [{"wa-middleware/operators": "true"}]
    assert [callers(name) for name in ("intake", "router", "sender", "push", "ledger")] == [[]] * 5


def test_only_those_call_out_who_must_and_no_private_address(manifests: list[Manifest]) -> None:
    (policy,) = [p for p in of_kind(manifests, "NetworkPolicy") if p["metadata"]["name"] == "out"]
    selector = policy["spec"]["podSelector"]["matchLabels"]
    assert {w["metadata"]["name"] for w, _, _ in workloads(manifests) if selects(selector, w)} == CALL_OUT
    (rule,) = policy["spec"]["egress"]
    assert rule["ports"] == [{"port": 443, "protocol": "TCP"}]
    refused = {network for target in rule["to"] for network in target["ipBlock"]["except"]}
    assert {"10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"} <= refused


def test_secrets_and_endpoints_that_are_read_anew_are_mounted_as_folders(manifests: list[Manifest]) -> None:
    # What is mounted by `subPath` never changes in a running container.
    by_name = {workload["metadata"]["name"]: container for workload, _, container in workloads(manifests)}
    for name, variable in (("edge", "WA_EDGE_TOKENS_FILE"), ("push", "WA_PUSH_ENDPOINTS_FILE")):
        (file,) = [e["value"] for e in by_name[name]["env"] if e["name"] == variable]
        (mount,) = [m for m in by_name[name]["volumeMounts"] if m["mountPath"] == str(Path(file).parent)]
        assert "subPath" not in mount
    assert any(m["metadata"]["name"] == "wa-push-endpoints" for m in of_kind(manifests, "ConfigMap"))


def test_the_example_names_a_fixed_image_and_tells_how_each_secret_is_made() -> None:
    text = (K8S / "overlays" / "example" / "kustomization.yaml").read_text("utf-8")
    (image,) = yaml.safe_load(text)["images"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", image["newTag"])
    wanted = {"wa-connections"}
    for _, pod, container in workloads(written_base()):
        assert container["image"] == image["name"]
        wanted |= {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
    assert set(re.findall(r"create secret generic (\S+)", text)) == wanted
    assert all(name in text for name in CONNECTIONS)


def test_the_schemas_find_a_misspelt_field() -> None:
    broken = written_base()
    router = next(w for w, _, _ in workloads(broken) if w["metadata"]["name"] == "router")
    router["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(AssertionError, match="readynessProbe"):
        test_every_manifest_is_what_kubernetes_takes(broken)
