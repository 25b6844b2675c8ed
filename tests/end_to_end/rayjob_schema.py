"""The fields of KubeRay's RayJob (ray.io/v1) that a submission may use, as a JSON schema; pods are left to Kubernetes' models.

Written after the reference of KubeRay's API: https://ray-project.github.io/kuberay/reference/api/
"""

from typing import Any

TEXT, WHOLE, SWITCH = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def record(required: tuple[str, ...], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


HEAD_GROUP = record(
    ("rayStartParams", "template"),
    rayStartParams=TEXTS,
    template={"type": "object"},
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    labels=TEXTS,
)
WORKER_GROUP = record(
    ("groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"),
    groupName=TEXT,
    replicas=WHOLE,
    minReplicas=WHOLE,
    maxReplicas=WHOLE,
    idleTimeoutSeconds=WHOLE,
    numOfHosts=WHOLE,
    suspend=SWITCH,
    rayStartParams=TEXTS,
    template={"type": "object"},
    labels=TEXTS,
)
CLUSTER = record(
    ("headGroupSpec", "rayVersion"),
    rayVersion=TEXT,
    authOptions=record(("mode",), mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    enableInTreeAutoscaling=SWITCH,
    headGroupSpec=HEAD_GROUP,
    workerGroupSpecs={"type": "array", "items": WORKER_GROUP, "minItems": 1},
)
SCHEMA = record(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=record(("name",), name={"type": "string", "pattern": "^[a-z]([-a-z0-9]{0,46}[a-z0-9])?$"}, labels=TEXTS),
    spec=record(
        ("entrypoint", "rayClusterSpec"),
        entrypoint=TEXT,
        submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        backoffLimit=WHOLE,
        activeDeadlineSeconds=WHOLE,
        shutdownAfterJobFinishes=SWITCH,
        ttlSecondsAfterFinished=WHOLE,
        suspend=SWITCH,
        entrypointNumCpus={"type": "number"},
        runtimeEnvYAML=TEXT,
        rayClusterSpec=CLUSTER,
    ),
)
