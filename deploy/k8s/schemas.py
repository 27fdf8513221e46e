"""Cuts `schemas.json` anew: a folder of Kubernetes JSON schemas in, what our kinds need of them out, to standard output.

The folder is `kubernetes_validate/kubernetes-json-schema/v<release>-local-strict` of the package kubernetes-validate, made from
Kubernetes' own OpenAPI document; the package itself is 17,000 files, which no check needs. Run: `python -m deploy.k8s.schemas FOLDER`.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

KINDS: Final = (
    "io.k8s.api.apps.v1.Deployment",
    "io.k8s.api.apps.v1.StatefulSet",
    "io.k8s.api.batch.v1.Job",
    "io.k8s.api.core.v1.ConfigMap",
    "io.k8s.api.core.v1.Namespace",
    "io.k8s.api.core.v1.Service",
    "io.k8s.api.core.v1.ServiceAccount",
    "io.k8s.api.networking.v1.Ingress",
    "io.k8s.api.networking.v1.NetworkPolicy",
    "io.k8s.api.policy.v1.PodDisruptionBudget",
)
_REFERENCE: Final = "#/$defs/"


def cut(definitions: dict[str, Any]) -> dict[str, Any]:
    """The definitions that `KINDS` reach, without texts, and without `null`: what is left empty by mistake is no value. Pure."""
    kept: dict[str, Any] = {}
    wanted = list(KINDS)
    while wanted:
        name = wanted.pop()
        if name not in kept:
            kept[name] = _bare(definitions[name], wanted)
    return dict(sorted(kept.items()))


def _bare(schema: Any, references: list[str]) -> Any:
    if isinstance(schema, list):
        return [_bare(item, references) for item in schema]
    if not isinstance(schema, dict):
        return schema
    bare = {}
    for key, value in schema.items():
        if key == "$ref":
            references.append(value.removeprefix(_REFERENCE))
            bare[key] = value
        elif key == "properties":
            bare[key] = {name: _bare(inner, references) for name, inner in value.items()}
        elif key == "type" and isinstance(value, list):
            types = [name for name in value if name != "null"]
            bare[key] = types[0] if len(types) == 1 else types
        elif key not in ("description", "format") and not key.startswith("x-"):
            bare[key] = _bare(value, references)
    return bare


def main() -> None:
    """Print the cut schemas of the folder that the first argument names."""
    folder = Path(sys.argv[1])
    definitions = json.loads((folder / "_definitions.json").read_text("utf-8"))["$defs"]
    release = folder.name.partition("-")[0]
    document = {
        "$comment": f"Kubernetes {release}, Apache License 2.0; closed to unknown fields; cut by deploy/k8s/schemas.py",
        "$defs": cut(definitions),
    }
    sys.stdout.write(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
