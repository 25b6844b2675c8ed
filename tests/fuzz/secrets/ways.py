"""The ways in which people give a command a secret: where it belongs, where it does not, and where it comes back by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import yaml

from tests.fuzz.secrets.search import Planted

CLOSED = "127.0.0.1:9"
"""A host and port at which nobody answers."""

GRID = (
    *("sweep=smoke", "task=wall", "planner=gd", "horizons=[10]", "seeds=2", "planners.gd.settings.iterations=2"),
    *("backend=inline", "artifacts.cells=[]"),
)
"""A sweep of two cells."""

STUDY = (
    *("task=wall", "planner=gd", "horizons=[10]", "name=short", "trials=2", "top=1", "seeds.count=2", "choice_seeds.count=2"),
    *("held_out.count=2", "space.iterations.low=2", "space.iterations.high=3", "planners.gd.settings.attempts=1"),
    *("backend=inline", "tracking.enabled=false"),
)
"""A study of two trials."""

OFF = "tracking.enabled=false"


@dataclass(frozen=True)
class Way:
    """A way to give secrets: command lines that run one after the other, in an environment."""

    commands: Sequence[Sequence[str]]
    """`OUT`, `GIVEN` and `SWEPT` (it has a sweep) stand for folders, `SERVER` for the address of a server that repeats."""
    variables: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Files in `GIVEN`, which is not searched."""
    changed: Mapping[str, str] = field(default_factory=dict)
    """Files that were changed in the checkout from which it runs."""
    slow: bool = False
    """Whether it plans something."""
    process: bool = False
    """Whether it needs a process of its own."""
    failing: Callable[[Planted], str] | None = None
    """The text of an error that a library raises while it plans."""


def ways(planted: Planted) -> dict[str, Way]:
    """All ways by name."""
    return {**_addresses(planted), **_misplaced(planted), **_arguments(planted), **_surroundings(planted)}


def _sweep(*words: str) -> Sequence[str]:
    return ("sweep", "--quiet", *GRID, *words, "output=OUT")


def _dry(*words: str) -> Sequence[str]:
    return ("sweep", "--dry-run", *GRID, *words, "output=OUT")


def _conf(values: object) -> dict[str, str]:
    text = "# @package _global_\ndefaults:\n  - /sweep/smoke\n" + yaml.safe_dump(values, allow_unicode=True)
    return {"conf/sweep/mine.yaml": text}


MINE = ("--conf", "GIVEN/conf", "sweep=mine")
AFTER = (("report", "smoke", "output=OUT"), ("status", "smoke", "output=OUT"), ("export", "smoke", "output=OUT"))
"""Commands that read what a sweep has written."""


def _addresses(planted: Planted) -> dict[str, Way]:
    """Addresses in their right place."""
    raw, encoded, token = (f"me:{planted.password}@", f"me:{planted.encoded}@", f"{planted.token}@")
    store = "s3://bucket/x?endpoint_override=127.0.0.1:9&scheme=http"
    mine = _conf({"tracking": {"uri": f"http://{encoded}{CLOSED}"}})
    spaced = _conf({"tracking": {"uri": f"http://{raw}{CLOSED}"}})
    return {
        "http, encoded": Way([_sweep(f"tracking.uri=http://{encoded}{CLOSED}"), *AFTER, ("sync", "output=OUT")], slow=True),
        "http, raw": Way([_sweep(f"tracking.uri=http://{raw}{CLOSED}"), *AFTER], slow=True),
        "http, token": Way([_sweep(f"tracking.uri=http://{token}{CLOSED}"), *AFTER], slow=True),
        "http, query": Way([_dry(f"tracking.uri=http://{CLOSED}/?token={planted.token}&password={planted.password}")]),
        "http, fragment": Way([_dry(f"tracking.uri=http://{CLOSED}/#api_key={planted.key}")]),
        "http, odd port": Way([_dry(f"tracking.uri=http://{raw}127.0.0.1:{planted.password}")]),
        "http, no host": Way([_dry(f"tracking.uri=http://{encoded}")]),
        "no scheme": Way([_dry(f"tracking.uri={encoded}{CLOSED}"), _dry(f"tracking.uri={raw}{CLOSED}")]),
        "unknown scheme": Way([_dry(f"tracking.uri=mysql://{raw}{CLOSED}/x")]),
        "server repeats": Way([_sweep(f"tracking.uri=http://{encoded}SERVER"), ("config", f"tracking.uri=http://{raw}SERVER")]),
        "postgresql, encoded": Way([_sweep(f"tracking.uri=postgresql://{encoded}{CLOSED}/x"), *AFTER], slow=True),
        "postgresql, raw": Way([_sweep(f"tracking.uri=postgresql://{raw}{CLOSED}/x")]),
        "postgresql, query": Way(
            [_sweep(f"tracking.uri=postgresql://{CLOSED}/x?user=me&password={planted.encoded}")], slow=True
        ),
        "twice": Way([_dry(f"tracking.uri=http://{encoded}{CLOSED}", f"tracking.uri=postgresql://{token}{CLOSED}")]),
        "conf": Way([("sweep", "--quiet", *MINE, *GRID[1:], "output=OUT"), *AFTER], files=mine, slow=True),
        "conf, raw": Way([("config", *MINE), ("sweep", "--dry-run", *MINE, "output=OUT")], files=spaced),
        "interpolated address": Way(
            [_sweep("tracking.uri=${oc.env:THEIRS}"), ("config", "tracking.uri=${oc.env:THEIRS}"), *AFTER],
            {"THEIRS": f"http://{encoded}{CLOSED}"},
            slow=True,
        ),
        "interpolated word": Way(
            [
                _sweep(f"tracking.uri=http://me:${{oc.env:WORD}}@{CLOSED}"),
                ("config", "tracking.uri=http://me:${oc.env:WORD}@h"),
            ],
            {"WORD": planted.encoded},
            slow=True,
        ),
        "interpolated raw": Way([_dry(f"tracking.uri=http://me:${{oc.env:WORD}}@{CLOSED}")], {"WORD": planted.password}),
        "study, postgresql": Way([("tune", *STUDY, f"optuna.storage=postgresql://{encoded}{CLOSED}/x", "output=OUT")]),
        "study, raw": Way([("tune", *STUDY, f"optuna.storage=postgresql://{raw}{CLOSED}/x", "output=OUT")]),
        "study, http": Way([("tune", *STUDY, f"optuna.storage=http://{token}{CLOSED}", "output=OUT")]),
        "study, interpolated": Way(
            [("tune", *STUDY, "optuna.storage=${oc.env:THEIRS}", "output=OUT")],
            {"THEIRS": f"postgresql://me:{planted.encoded}@{CLOSED}/x"},
        ),
        "storage, keys": Way([_sweep(f"storage=s3://KEYNAME:{planted.key}@bucket/x", OFF)]),
        "storage, query": Way([_sweep(f"storage=s3://bucket/x?secret_key={planted.key}", OFF)]),
        "storage, gs": Way([_sweep(f"storage=gs://{planted.token}@bucket/x", OFF)]),
        "storage, folder": Way([_sweep(f"storage=file://me:{planted.password}@h/x", OFF)]),
        "storage, environment": Way(
            [_sweep(f"storage={store}", OFF)], {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": planted.key}
        ),
    }


def _misplaced(planted: Planted) -> dict[str, Way]:
    """Addresses in keys of another kind."""
    address = f"http://me:{planted.password}@{CLOSED}"
    keys = {
        **dict.fromkeys(("name", "task", "planner", "sweep", "output", "world_model", "world_models", "tracking"), "sweep"),
        **dict.fromkeys(("seeds", "horizons", "backend", "mode", "trakcing.uri", "tracking.url", "device"), "sweep"),
        **dict.fromkeys(("tracking.experiment", "artifacts.cells", "planners.gd.settings.iterations", "goal_cost"), "sweep"),
        **dict.fromkeys(("space", "study", "trials", "optuna"), "tune"),
        **dict.fromkeys(("seed", "horizon", "tracking.uri"), "plan"),
        **dict.fromkeys(("world_model", "out", "task", "tracking.uri"), "train"),
        **dict.fromkeys(("problems", "world_model", "places"), "diagnose"),
        **dict.fromkeys(("page", "planning_quality", "machine"), "quality"),
    }
    found = {}
    for key, command in keys.items():
        words = ("--dry-run",) if command in ("sweep", "quality") else ()
        given = [(command, *words, f"{key}={address}"), ("config", command, f"{key}={address}")]
        given.append(("config", command, f"{key}=postgresql://{planted.token}@h/x"))
        found[f"{command} {key}="] = Way(given)
    wrong = _conf({"trakcing": {"uri": address}, "name": address})
    broken = {"conf/sweep/mine.yaml": f'# @package _global_\ntracking: {{uri: "{address}\n'}
    listed = _conf({"tracking": [address, f"postgresql://{planted.token}@h/x"]})
    found["conf, wrong key"] = Way([("config", *MINE)], files=wrong)
    found["conf, broken"] = Way([("config", *MINE)], files=broken)
    found["conf, list"] = Way([("config", *MINE)], files=listed)
    found["conf, interpolated"] = Way([("config", *MINE)], files=_conf({"tracking": {"uri": f"{address}/${{oc.env:NO_SUCH}}"}}))
    found["interpolated name"] = Way([_sweep("name=${oc.env:A_TOKEN}", OFF)], {"A_TOKEN": planted.token})
    found["interpolated experiment"] = Way(
        [_sweep("tracking.experiment=${oc.env:A_TOKEN}", "tracking.uri=http://SERVER")], {"A_TOKEN": planted.token}
    )
    found["interpolated nothing"] = Way([_dry(f"tracking.uri={address}/${{oc.env:NO_SUCH}}")])
    found["removed"] = Way([_dry(f"~tracking.uri={address}"), _dry(f"++tracking.uri={address}"), _dry(f"+x={address}")])
    return found


def _arguments(planted: Planted) -> dict[str, Way]:
    """Addresses as arguments and options of every command."""
    address = f"http://me:{planted.password}@{CLOSED}"
    database = f"postgresql://me:{planted.encoded}@{CLOSED}/x"
    given = {
        "sync": [("sync", f"tracking.uri={address}", "output=SWEPT"), ("sync", f"tracking.uri={database}", "output=SWEPT")],
        "sync, name": [("sync", address, "output=SWEPT"), ("sync", "smoke", f"trakcing.uri={address}", "output=SWEPT")],
        "sync, token": [("sync", "smoke", f"tracking.uri=http://{planted.token}@SERVER", "output=SWEPT")],
        "report": [("report", address, "output=SWEPT"), ("report", f"output={address}"), ("report", f"tracking.uri={address}")],
        "status": [("status", address, "output=SWEPT"), ("status", "--json", address, "output=SWEPT")],
        "compare": [("compare", address, "smoke", "output=SWEPT"), ("compare", "smoke", f"smoke@{address}", "output=SWEPT")],
        "export": [("export", address, "output=SWEPT"), ("export", "smoke", "--to", address, "output=SWEPT")],
        "import": [
            ("import", address, "output=OUT"),
            ("import", "x", "--name", address),
            ("import", "x", "--max-bytes", address),
        ],
        "rerun": [("rerun", address, "output=SWEPT"), ("rerun", "x", address)],
        "check": [("check", f"output={address}"), ("check", address)],
        "models": [("models", address), ("models", "inspect", address), ("models", "import", address, "--name", "x")],
        "models import": [
            ("models", "import", "GIVEN/none.pt", "--name", address, "--task", address, f"output={address}"),
            ("models", "import", "GIVEN/none.pt", "--name", "x", "--task", "wall", f"speed={address}", "--encoder", address),
        ],
        "ui": [("ui", f"tracking.uri={database}", "output=SWEPT"), ("ui", f"tracking.uri={address}", "output=SWEPT")],
        "ui, studies": [("ui", "--optuna", f"optuna.storage={database}", "output=SWEPT"), ("ui", "--port", address)],
        "apply": [("tune", "apply", address, "output=SWEPT"), ("tune", "apply", "x", "--conf", address, "output=SWEPT")],
        "diagnose": [("diagnose", f"tracking.uri={address}", "problems=0"), ("diagnose", "--conf", address)],
        "quality": [("quality", "--from", address), ("quality", "--dry-run", f"tracking.uri={address}")],
        "options": [
            ("sweep", f"--tracking.uri={address}"),
            ("sweep", "--conf", address),
            (address,),
            (f"tracking.uri={address}",),
        ],
    }
    return {name: Way(commands) for name, commands in given.items()}


def _surroundings(planted: Planted) -> dict[str, Way]:
    """Secrets of the environment, which come back from servers, libraries and files."""
    login = {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": planted.password}
    token = {"MLFLOW_TRACKING_TOKEN": planted.token}
    keys = {"AWS_SECRET_ACCESS_KEY": planted.key}
    everything = {**login, **token, **keys, "DATABASE_URL": f"postgresql://me:{planted.encoded}@h/x"}
    return {
        "login refused": Way(
            [_sweep("tracking.uri=http://SERVER"), ("sync", "tracking.uri=http://SERVER", "output=SWEPT")], login
        ),
        "token refused": Way(
            [_sweep("tracking.uri=http://SERVER"), ("sync", "tracking.uri=http://SERVER", "output=SWEPT")], token
        ),
        "nobody answers": Way([_sweep(f"tracking.uri=http://{CLOSED}"), *AFTER], everything, slow=True),
        "own store": Way([_sweep(), *AFTER, ("sync", "smoke", "output=OUT")], everything, slow=True),
        "study": Way([("tune", "--quiet", *STUDY, "output=OUT")], everything, slow=True),
        "library fails": Way(
            [_sweep(), ("report", "smoke", "output=OUT"), ("export", "smoke", "output=OUT")],
            everything,
            slow=True,
            failing=lambda each: (
                f"refused {each.password} and {each.token!r} at s3://K:{each.key}@b and http://me:{each.encoded}@h"
            ),
        ),
        "changed files": Way([_sweep(), *AFTER], everything, changed=_changed(planted), slow=True),
        "fault of ours": Way(
            [("sweep", *GRID, f"tracking.uri=http://me:{planted.encoded}@{CLOSED}")], everything, process=True
        ),
        "process": Way(
            [("sweep", "--dry-run", f"name=http://me:{planted.password}@h"), ("models", "x")], everything, process=True
        ),
    }


def _changed(planted: Planted) -> dict[str, str]:
    return {
        ".env": f"TRACKING={planted.token}\n",
        "run.sh": f"grasp sync 'tracking.uri=http://me:{planted.encoded}@h'\n",
        "raw.sh": f"grasp sync tracking.uri=postgresql://me:{planted.password}@h/x\n",
        "settings.py": f'aws_secret_access_key = "{planted.key}"\ntoken = "{planted.token}"\n',
        "plain.txt": f"a note: {planted.token} {planted.key}\n",
    }
