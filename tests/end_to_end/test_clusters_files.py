"""docker/: every file against a schema or parser for its kind, and against our own rules."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from dockerfile_parse import DockerfileParser
from lightkube.models.core_v1 import PersistentVolumeClaim, PodTemplateSpec

from tests.end_to_end.rayjob_schema import SCHEMA

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
VOLUME, RAYJOB = yaml.safe_load_all((DOCKER / "rayjob.yaml").read_text(encoding="utf-8"))
GROUPS = [RAYJOB["spec"]["rayClusterSpec"]["headGroupSpec"], *RAYJOB["spec"]["rayClusterSpec"]["workerGroupSpecs"]]
SCRIPTS = [*sorted((DOCKER / "commands").glob("*.sh")), DOCKER / "sweep.slurm"]


def tool(name: str, *words: object) -> str:
    """A linter's complaints; empty when it has none."""
    done = subprocess.run([Path(sys.executable).parent / name, *map(str, words)], cwd=ROOT, capture_output=True, text=True)
    assert bool(done.returncode) == bool(done.stdout.strip()) or name == "check-jsonschema", done
    return done.stdout + done.stderr if done.returncode else ""


def instructions(kind: str) -> list[str]:
    with (DOCKER / "Dockerfile").open("rb") as file:
        structure = DockerfileParser(fileobj=file).structure
    return [entry["value"] for entry in structure if entry["instruction"] == kind]


def exported() -> dict[str, str]:
    """Variables that environment.sh sets to fixed values."""
    text = (DOCKER / "commands" / "environment.sh").read_text(encoding="utf-8")
    return dict(re.findall(r"^export (\w+)=(\w+)$", text, re.MULTILINE))


def test_docker_is_not_a_package():
    # It would shadow the package `docker` that other libraries import.
    assert not list(DOCKER.rglob("__init__.py"))


def test_dockerfile_passes_a_linter_and_cannot_be_misread():
    assert tool("hadolint", "docker/Dockerfile") == ""


def test_the_image_runs_as_a_user_of_fixed_number():
    assert instructions("USER")[-1] == "10001:10001"
    assert "useradd --uid 10001 --gid 10001" in " ".join(instructions("RUN"))


def test_the_image_is_built_from_pinned_parts():
    default = dict(word.split("=", 1) for word in instructions("ARG") if "=" in word)
    assert re.fullmatch(r"python:3\.1[1-3]\.\d+-slim-bookworm", default["PYTHON_IMAGE"])
    assert {source.split()[0] for source in instructions("FROM")} == {"${PYTHON_IMAGE}"}
    installs = [run for run in instructions("RUN") if "pip install" in run]
    torch = [run for run in installs if "torch==2.13.0" in run]
    assert installs[0] == torch[0], "torch goes first and alone"
    assert all("--constraint constraints.txt" in run or "--no-deps" in run for run in installs)
    assert default["ACCELERATOR"] == "cpu"
    assert re.search(r"cpu\).*cuda\).*\*\).*exit 2", torch[0])


def test_the_image_holds_no_secret_and_nothing_from_the_network():
    assert not instructions("ADD")
    copied = {word for words in instructions("COPY") for word in words.split()[:-1] if not word.startswith("--")}
    ignore = (DOCKER / "Dockerfile.dockerignore").read_text(encoding="utf-8").split("\n")
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    assert copied - {"/opt/venv"} == let_in
    assert "*" in ignore
    assert all((ROOT / name).exists() for name in let_in)
    assert not re.search(r"(?i)password|token|secret|_key", "\n".join(instructions("ENV") + instructions("ARG")))


def test_what_the_image_starts_is_in_exec_form_and_checked():
    assert json.loads(instructions("CMD")[-1])[0] == "bash"
    check = instructions("HEALTHCHECK")[-1]
    assert json.loads(check[check.index("[") :])[0] == "python"


def test_compose_passes_its_schema():
    assert tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker/compose.yaml") == ""


def test_compose_publishes_on_loopback_only():
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_refuses_to_start_without_secrets_and_hands_them_over_as_files():
    required = " ".join(COMPOSE["x-required"])
    for secret in COMPOSE["secrets"].values():
        assert re.search(rf"\$\{{{secret['environment']}:\?[^}}]+\}}", required)
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"(?i)password|token", name):
                assert name.endswith(("_FILE", "_PATH"))
                assert Path(value).name in service["secrets"]


def test_compose_starts_parts_in_order_and_checks_their_health():
    services = COMPOSE["services"]
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services, name
            assert how["condition"] != "service_healthy" or services[needed].get("healthcheck", {}).get("test")
        assert service.get("restart") == "unless-stopped" or "submit" in service["profiles"]
    assert services["worker"]["depends_on"]["head"]["condition"] == "service_healthy"
    assert "profiles" not in services["worker"], "workers start without being asked for"
    assert "container_name" not in services["worker"], "a worker can be scaled"


def test_compose_pins_images_and_drops_privileges():
    for name, service in COMPOSE["services"].items():
        assert re.fullmatch(r"[\w-]+:(\$\{\w+:-cpu\}|\d+\.\d+-bookworm)", service["image"]), name
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert name == "database" or service["cap_drop"] == ["ALL"]


def test_the_rayjob_passes_a_schema_that_knows_no_other_fields():
    jsonschema.validate(RAYJOB, SCHEMA)
    misspelt = {**RAYJOB, "spec": {**RAYJOB["spec"], "entryPoint": "x"}}
    with pytest.raises(jsonschema.ValidationError, match="entryPoint"):
        jsonschema.validate(misspelt, SCHEMA)


@pytest.mark.parametrize("group", GROUPS, ids=[group.get("groupName", "head") for group in GROUPS])
def test_pods_hold_fields_of_kubernetes_and_no_others(group: Mapping[str, Any]):
    template = group["template"]
    assert PodTemplateSpec.from_dict(template).to_dict() == template, "a field that Kubernetes lacks is lost on the way"
    misspelt = {**template, "spec": {**template["spec"], "nodeselector": {}}}
    assert PodTemplateSpec.from_dict(misspelt).to_dict() != misspelt


def test_the_volume_is_one_that_all_pods_can_write():
    assert PersistentVolumeClaim.from_dict(VOLUME).to_dict() == VOLUME
    assert VOLUME["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in GROUPS:
        (volume,) = group["template"]["spec"]["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] == VOLUME["metadata"]["name"]


def test_pods_run_without_root_and_with_limits():
    for group in GROUPS:
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}" == instructions("USER")[-1]
        (container,) = pod["containers"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]
        assert re.fullmatch(r".+/grasp-orchestrator:\d+\.\d+\.\d+-(cpu|cuda)", container["image"])


def test_pods_have_the_environment_of_the_commands():
    assert len(exported()) == 7
    for group in GROUPS:
        (container,) = group["template"]["spec"]["containers"]
        assert exported().items() <= {entry["name"]: entry["value"] for entry in container["env"]}.items()


def test_kuberay_starts_ray_with_options_that_the_commands_use():
    for group, script in zip(GROUPS, ("head", "worker", "worker"), strict=True):
        words = (DOCKER / "commands" / f"{script}.sh").read_text(encoding="utf-8")
        for option, value in group["rayStartParams"].items():
            assert f"--{option} " in words, option
            assert value in words or option == "dashboard-host"


def test_kuberay_and_the_image_agree_on_rays_version():
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line
    )
    assert RAYJOB["spec"]["rayClusterSpec"]["rayVersion"] == pins["ray"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_pass_a_linter(script: Path):
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    assert tool("shellcheck", "-x", script.relative_to(ROOT)) == ""
    if script.name != "environment.sh":
        assert "set -euo pipefail" in script.read_text(encoding="utf-8")


def test_the_script_requests_what_it_relies_on_from_slurm():
    asked = dict(directives())
    assert asked["ntasks-per-node"] == "1"
    assert asked["signal"].startswith("B:USR1@")
    assert "requeue" in asked


def directives() -> Iterator[tuple[str, str]]:
    for line in (DOCKER / "sweep.slurm").read_text(encoding="utf-8").splitlines():
        if match := re.fullmatch(r"#SBATCH --([a-z-]+)(?:=(\S+))?", line):
            yield match[1], match[2] or ""
