"""The Kubernetes manifests against the schemas of Kubernetes, and the Ray cluster as Ray's own autoscaler reads it.

Of RayCluster itself no package carries a schema: its pods are checked as pods, and what Ray reads of it by Ray. The
fields around them (`KUBERAY_FIELDS`) are compared with a list, taken from KubeRay's reference for 1.6.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import ray
import yaml
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from tests.infra import INFRA, ROOT

FOLDER = INFRA / "kubernetes"
VERSIONS = ("1.30", "1.37")
KUBERAY_FIELDS = {
    "spec": {"rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec",
             "workerGroupSpecs"},
    "authOptions": {"mode", "secretName"},
    "autoscalerOptions": {"version", "upscalingMode", "idleTimeoutSeconds", "resources", "securityContext"},
    "group": {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"},
}  # fmt: skip


def manifests() -> Iterator[tuple[str, dict[str, Any]]]:
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    for file in kustomization["resources"]:
        for each in yaml.safe_load_all((FOLDER / file).read_text()):
            yield f"{each['kind']}/{each['metadata']['name']}", each


ALL = dict(manifests())
CLUSTER = ALL["RayCluster/remaster"]
GROUPS = {"head": CLUSTER["spec"]["headGroupSpec"]} | {
    group["groupName"]: group for group in CLUSTER["spec"]["workerGroupSpecs"]
}


def pods() -> dict[str, dict[str, Any]]:
    """Pod templates by who they are of."""
    deployments = {name: each["spec"]["template"] for name, each in ALL.items() if each["kind"] == "Deployment"}
    return deployments | {f"ray {name}": group["template"] for name, group in GROUPS.items()}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", [name for name in ALL if name != "RayCluster/remaster"])
def test_a_manifest_is_what_kubernetes_takes(name: str, version: str) -> None:
    kubernetes_validate.validate(ALL[name], version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("group", GROUPS)
def test_the_pods_of_the_ray_cluster_are_pods(group: str, version: str) -> None:
    template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": group}}
    kubernetes_validate.validate(template | {"template": GROUPS[group]["template"]}, version, strict=True)


def test_the_schemas_would_see_a_slip() -> None:
    template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "gpu"}}
    slipped = yaml.safe_load(yaml.safe_dump(GROUPS["gpu"]["template"]))
    slipped["spec"]["toleration"] = slipped["spec"].pop("tolerations")
    with pytest.raises(kubernetes_validate.ValidationError, match="toleration"):
        kubernetes_validate.validate(template | {"template": slipped}, VERSIONS[-1], strict=True)


def test_the_fields_around_the_pods_are_kuberays() -> None:
    spec = CLUSTER["spec"]
    assert set(spec) <= KUBERAY_FIELDS["spec"]
    assert set(spec["authOptions"]) <= KUBERAY_FIELDS["authOptions"]
    assert set(spec["autoscalerOptions"]) <= KUBERAY_FIELDS["autoscalerOptions"]
    assert all(set(group) <= KUBERAY_FIELDS["group"] for group in GROUPS.values())
    values = [value for group in GROUPS.values() for value in group["rayStartParams"].values()]
    assert all(isinstance(value, str) for value in values)


def test_rays_autoscaler_reads_workers_with_a_gpu_from_none_to_eight() -> None:
    config = _derive_autoscaling_config_from_ray_cr(CLUSTER | {"metadata": {"name": "r", "namespace": "remaster"}})
    types = config["available_node_types"]
    assert types["gpu"]["resources"]["GPU"] == 1
    assert (types["gpu"]["min_workers"], types["gpu"]["max_workers"]) == (0, 8)
    assert types["driver"]["resources"]["CPU"] == 0
    assert (types["driver"]["min_workers"], types["driver"]["max_workers"]) == (1, 1)
    assert types["headgroup"]["resources"]["CPU"] == 0
    assert config["idle_timeout_minutes"] == 2


def test_the_cluster_asks_for_a_token_and_the_ray_of_the_image() -> None:
    assert CLUSTER["spec"]["authOptions"] == {"mode": "token", "secretName": "remaster-ray"}
    assert CLUSTER["spec"]["rayVersion"] == ray.__version__


def test_only_gpu_workers_may_be_on_machines_that_are_taken_back() -> None:
    for name, group in GROUPS.items():
        pod = group["template"]["spec"]
        affinity = pod["affinity"]["nodeAffinity"]
        if name == "gpu":
            assert "requiredDuringSchedulingIgnoredDuringExecution" not in affinity
            preferred = {rule["preference"]["matchExpressions"][0]["key"] for rule in next(iter(affinity.values()))}
            # Without a toleration the preference would come to nothing where such machines are tainted.
            assert {each["key"] for each in pod["tolerations"]} - {"nvidia.com/gpu"} <= preferred
        else:
            terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
            assert all(each["operator"] == "NotIn" for term in terms for each in term["matchExpressions"])


@pytest.mark.parametrize("name", pods())
def test_a_pod_is_nobody_in_particular_and_may_nothing(name: str) -> None:
    pod = pods()[name]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    for container in pod["containers"]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["resources"]["limits"]["memory"]


def test_no_secret_is_in_the_manifests_and_each_that_is_referred_to_is_in_the_documents() -> None:
    text = "".join(path.read_text() for path in FOLDER.glob("*.yaml"))
    assert "kind: Secret" not in text
    referred = {CLUSTER["spec"]["authOptions"]["secretName"]} | set(
        re.findall(r"secret(?:Key)?Ref: \{name: ([\w-]+)", text)
    )
    made = re.findall(r"create secret generic ([\w-]+)", (ROOT / "docs/cluster.md").read_text())
    assert referred == set(made)


def test_metrics_are_exported_where_prometheus_is_told_to_look() -> None:
    for group in GROUPS.values():
        annotations = group["template"]["metadata"]["annotations"]
        ports = {port["name"]: port["containerPort"] for port in group["template"]["spec"]["containers"][0]["ports"]}
        assert (
            group["rayStartParams"]["metrics-export-port"] == annotations["prometheus.io/port"] == str(ports["metrics"])
        )


def test_every_policy_is_about_pods_that_there_are() -> None:
    labels = [set(template["metadata"].get("labels", {}).items()) for template in pods().values()]
    # KubeRay puts these on the pods of a cluster.
    labels += [{("ray.io/cluster", "remaster"), ("ray.io/node-type", "head")}]
    labels += [{("ray.io/cluster", "remaster"), ("ray.io/group", name)} for name in GROUPS]
    for name, each in ALL.items():
        if each["kind"] in {"NetworkPolicy", "PodDisruptionBudget"}:
            selector = each["spec"].get("podSelector", each["spec"].get("selector"))
            wanted = set(selector.get("matchLabels", {}).items())
            assert any(wanted <= pod for pod in labels), name
