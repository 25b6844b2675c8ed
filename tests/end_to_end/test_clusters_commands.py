"""The commands of docker/: the rehearsal ran each of them; each names what it needs and passes its arguments on."""

import json
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from dockerfile_parse import DockerfileParser
from hypothesis import given, settings
from hypothesis import strategies as st
from ray._private.runtime_env.packaging import create_package
from ray._private.runtime_env.working_dir import upload_working_dir_if_needed

from benchmarks.rehearsed import COMMANDS, LIST, as_text, form

ROOT = Path(__file__).parents[2]
LAUNCHERS = {"srun", "scontrol"}
"""Programs of Slurm; what they start is checked."""


def of_the_dockerfile() -> Iterator[list[str]]:
    with (ROOT / "docker" / "Dockerfile").open("rb") as file:
        for entry in DockerfileParser(fileobj=file).structure:
            if entry["instruction"] in ("CMD", "ENTRYPOINT", "HEALTHCHECK"):
                yield json.loads(entry["value"][entry["value"].index("[") :])


def of_compose() -> Iterator[list[str]]:
    for service in yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text(encoding="utf-8"))["services"].values():
        for words in (service.get("entrypoint"), service.get("command"), service.get("healthcheck", {}).get("test")):
            if words:
                yield words[1:] if words[0] == "CMD" else words


def of_the_rayjob() -> Iterator[list[str]]:
    _, job = yaml.safe_load_all((ROOT / "docker" / "rayjob.yaml").read_text(encoding="utf-8"))
    yield shlex.split(job["spec"]["entrypoint"])
    for group in (job["spec"]["rayClusterSpec"]["headGroupSpec"], *job["spec"]["rayClusterSpec"]["workerGroupSpecs"]):
        for container in group["template"]["spec"]["containers"]:
            assert not {"command", "args", "lifecycle"} & container.keys(), "KubeRay writes the `ray start`"


def of_the_slurm_script() -> Iterator[list[str]]:
    """Every line that runs one of our commands, and every program that is not a builtin of bash."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "docker" / "sweep.slurm").read_text(encoding="utf-8"))
    for line in text.splitlines():
        found = re.search(r"(?:bash|python) docker/commands/\S+.*", line)
        if found and not line.startswith("#"):
            yield shlex.split(found[0].split(" &")[0].rstrip("'&"), posix=False)


@pytest.mark.parametrize("commands", [of_the_dockerfile, of_compose, of_the_rayjob, of_the_slurm_script])
def test_every_command_is_one_that_the_rehearsal_ran(commands):
    ran = set(LIST.read_text(encoding="utf-8").splitlines())
    found = {form([word.strip("\"'") for word in words]) for words in commands()}
    assert found
    assert found <= ran


def test_the_slurm_script_runs_nothing_but_our_commands_slurm_and_small_tools():
    text = re.sub(r"\\\n\s*", "", (ROOT / "docker" / "sweep.slurm").read_text(encoding="utf-8"))
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    firsts = set(re.findall(r"(?:^|[;&|(]|\$\(|\bexec )\s*([a-z]\w*)(?= )", code, re.MULTILINE))
    shell = {"set", "cd", "export", "if", "else", "exec", "trap", "kill", "wait", "exit", "stop", "then", "print"}
    assert firsts - shell <= LAUNCHERS | {"bash", "python", "head", "awk", "od", "tr", "hostname"}


def test_every_script_was_rehearsed():
    ran = LIST.read_text(encoding="utf-8")
    scripts = {path.name for path in COMMANDS.iterdir() if path.is_file()} - {"environment.sh"}
    assert all(f"docker/commands/{name}" in ran for name in scripts)


def test_forms_leave_out_paths_and_addresses_and_nothing_else():
    assert form(["bash", "/opt/grasp/docker/commands/sweep.sh", "seeds=3"]) == "bash docker/commands/sweep.sh"
    assert form(["env", "A=1", "bash", "docker/commands/sweep.sh"]) == "bash docker/commands/sweep.sh"
    health = ["python", "docker/commands/ready.py", "http://127.0.0.1:5000/health"]
    assert form(health) == "python docker/commands/ready.py http:/health"
    assert form(health) != form([*health[:2], "http://127.0.0.1:5000/other"])
    assert form(["pg_isready", "--host", "a"]) != form(["pg_isready", "--port", "1"])
    assert as_text([health, health]) == "python docker/commands/ready.py http:/health\n"


def stubbed(folder: Path, name: str) -> None:
    """A program on PATH that records its arguments, one per line, and its environment."""
    file = folder / name
    file.write_text(
        f'#!/bin/sh\nprintf "%s\\0" "$@" > "{folder}/{name}.words"\nenv > "{folder}/{name}.env"\n', encoding="utf-8"
    )
    file.chmod(0o755)


def words_of(folder: Path, name: str) -> list[str]:
    return (folder / f"{name}.words").read_bytes().decode().split("\0")[:-1]


def environment_of(folder: Path, name: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in (folder / f"{name}.env").read_text(encoding="utf-8").splitlines() if "=" in line)


def run(script: str, folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = {"PATH": f"{folder}:/usr/bin:/bin", "HOME": str(folder)}
    command = ["bash", COMMANDS / script, *words]
    return subprocess.run(command, cwd=ROOT, env={**path, **environment}, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stubs")
    for name in ("ray", "mlflow", "python"):
        stubbed(folder, name)
    return folder


@settings(max_examples=12, deadline=None)
@given(words=st.lists(st.text("ab =[],.'\"$*\\", min_size=1, max_size=12).map(lambda text: f"k={text}"), max_size=4))
def test_what_is_submitted_reaches_the_sweep_word_for_word(stubs, words):
    assert run("submit.sh", stubs, *words).returncode == 0
    sent = words_of(stubs, "ray")
    entrypoint = sent[sent.index("--") + 1 :]
    # Ray hands the entrypoint to a shell, each word quoted.
    subprocess.run(["bash", "-c", shlex.join(entrypoint)], cwd=ROOT, env={"PATH": f"{stubs}:/usr/bin:/bin"}, check=True)
    assert words_of(stubs, "python") == ["-m", "sweeps", "sweep", "backend=ray", "backend.address=auto", *words]


def test_a_sweep_finds_its_folder_and_its_server_in_the_environment_and_arguments_win(stubs):
    locations = {"GRASP_OUTPUT": "/a b", "GRASP_STORAGE": "s3://b/c", "GRASP_TRACKING_URI": "http://tracking:5000"}
    assert run("sweep.sh", stubs, "output=here", **locations).returncode == 0
    said = words_of(stubs, "python")[5:]
    assert said == ["output=/a b", "storage=s3://b/c", "tracking.uri=http://tracking:5000", "output=here"]


def test_a_submission_names_its_commit_and_leaves_out_what_runtime_env_says(stubs):
    assert run("submit.sh", stubs).returncode == 0
    sent = words_of(stubs, "ray")
    (revision,) = [word for word in sent if word.startswith("GRASP_REVISION=")]
    assert re.fullmatch(r"GRASP_REVISION=([0-9a-f]{40}(-dirty)?|unknown)", revision)
    assert sent[sent.index("--runtime-env") + 1] == "docker/runtime_env.yaml"


def test_passwords_stay_off_command_lines(stubs, tmp_path):
    refused = run("tracking.sh", stubs)
    assert refused.returncode != 0
    assert "set PGPASSWORD or GRASP_DATABASE_PASSWORD_FILE" in refused.stderr
    secret = tmp_path / "secret"
    secret.write_text("hush hush\n", encoding="utf-8")
    assert run("tracking.sh", stubs, GRASP_DATABASE_PASSWORD_FILE=str(secret)).returncode == 0
    assert "hush" not in " ".join(words_of(stubs, "mlflow"))
    assert environment_of(stubs, "mlflow")["PGPASSWORD"] == "hush hush"
    secret.write_text("", encoding="utf-8")
    assert run("tracking.sh", stubs, GRASP_DATABASE_PASSWORD_FILE=str(secret)).returncode != 0


def test_a_node_gets_the_address_of_its_head(stubs):
    refused = run("worker.sh", stubs)
    assert refused.returncode != 0
    assert "name the head" in refused.stderr
    assert run("worker.sh", stubs, "--num-cpus", "4", GRASP_RAY_ADDRESS="head:1").returncode == 0
    assert words_of(stubs, "ray")[:3] == ["start", "--address", "head:1"]
    assert words_of(stubs, "ray")[-2:] == ["--num-cpus", "4"]


@pytest.mark.parametrize(
    ("given", "mode"),
    [
        ({}, "disabled"),
        ({"RAY_AUTH_TOKEN": "x"}, "token"),
        ({"RAY_AUTH_TOKEN_PATH": "/f"}, "token"),
        ({"RAY_AUTH_MODE": "token"}, "token"),
    ],
)
def test_nodes_ask_for_a_token_where_one_is_given(stubs, given, mode):
    assert run("head.sh", stubs, **given).returncode == 0
    seen = environment_of(stubs, "ray")
    assert seen["RAY_AUTH_MODE"] == mode
    assert (seen["RAY_worker_niceness"], seen["RAY_USAGE_STATS_ENABLED"]) == ("0", "0")


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 500)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def ready(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(COMMANDS / "ready.py"), *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={"http_proxy": "http://127.0.0.1:1"})


def test_a_health_check_passes_when_its_server_is_healthy():
    server = HTTPServer(("127.0.0.1", 0), _Answer)
    port = server.server_port
    waiting = ready(f"http://127.0.0.1:{port}/health", "60")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for url, code in ((f"tcp://127.0.0.1:{port}", 0), (f"http://127.0.0.1:{port}/else", 1)):
        once = ready(url)
        _, said = once.communicate(timeout=60)
        assert once.returncode == code
        assert bool(said) == bool(code)
    assert waiting.communicate(timeout=60)[1] == ""
    assert waiting.returncode == 0
    server.shutdown()
    server.server_close()
    began = time.monotonic()
    gone = ready(f"tcp://127.0.0.1:{port}", "1")
    assert "does not answer" in gone.communicate(timeout=60)[1]
    assert gone.returncode == 1
    assert time.monotonic() - began >= 1


def test_a_submission_uploads_the_code_and_nothing_else(tmp_path):
    """Ray's own packaging of a checkout that holds what checkouts hold after a week of work."""
    checkout = tmp_path / "checkout"
    kept = ["sweeps/cli.py", "sweeps/conf/task/wall.yaml", "world_models/zoo/wall/model.safetensors", "my_conf/sweep/mine.yaml"]
    left = [".git/objects/pack/big", ".venv/lib/x.py", "outputs/ledger/part.parquet", "docs/picture.png", "tests/test_x.py"]
    left += [
        "sweeps/__pycache__/cli.pyc",
        "mlruns/0/meta.yaml",
        "build/lib/a.py",
        ".ruff_cache/x",
        "grasp_orchestrator.egg-info/PKG-INFO",
    ]
    for name in (*kept, *left):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("x", encoding="utf-8")
    (checkout / ".gitignore").write_text((ROOT / ".gitignore").read_text(encoding="utf-8"), encoding="utf-8")
    asked = yaml.safe_load((ROOT / "docker" / "runtime_env.yaml").read_text(encoding="utf-8"))
    sent: list[set[str]] = []

    def upload(folder: str, excludes: list[str], is_file: bool = False) -> None:
        target = tmp_path / "package.zip"
        create_package(folder, target, include_gitignore=True, excludes=excludes)
        listed = subprocess.run([sys.executable, "-m", "zipfile", "-l", target], capture_output=True, text=True, check=True)
        sent.append({line.split()[0] for line in listed.stdout.splitlines()[1:]})

    upload_working_dir_if_needed({"working_dir": str(checkout), **asked}, include_gitignore=True, upload_fn=upload)
    (names,) = sent
    assert set(kept) <= names
    assert not set(left) & names
    folders = {name.split("/")[0] for name in names}
    # Not even as an empty folder: Ray would have walked through all that lies below.
    assert not {".git", ".venv", "outputs", "docs", "tests", "mlruns", "build"} & folders
