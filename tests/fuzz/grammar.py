"""Command lines from a grammar: every command, its options, and `key=value` words of all sorts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

from sweeps.cli.verbs import VERBS
from sweeps.config.schema.check import kind_at
from sweeps.config.schema.configs import COMMANDS
from tests.fuzz.keys import SHORT, Key, is_unknown, keys, options
from tests.fuzz.values import NUMBERS, PATHS, WORDS, spoilt, value

REMOTE = ("storage", "optuna", "tracking", "backend.address", "memory_per_worker")
"""Keys whose values commands open: only `grasp config`, which opens nothing, gets all of theirs."""

WEIGHTS = {"config": 50, "sweep": 14, "plan": 6, "tune": 7, "diagnose": 4, "train": 5, "quality": 2}
"""Weights of commands; all others have 1."""


@dataclass(frozen=True)
class Word:
    """A `key=value` word."""

    text: str
    key: Key
    raw: str = ""
    """The value as it was typed."""
    marked: bool = False
    """Whether Hydra's marks or a misspelling changed the key."""


@dataclass(frozen=True)
class Line:
    """A command line."""

    command: str
    """The command whose config it composes; empty for one that takes only output= and the like."""
    words: tuple[str, ...]
    given: tuple[Word, ...] = ()
    conf: Path | None = None
    """The folder of configs that is given."""

    @property
    def unknown(self) -> str | None:
        """A key that the command lacks, if one is given."""
        found = (word.text.lstrip("+~").partition("=")[0] for word in self.given)
        return next((key for key in found if self.command and is_unknown(self.command, key)), None)


def line(random: Random, conf: Path | None = None) -> Line:
    """A command line; with `conf`, one that reads that folder of configs."""
    names = [name for name in VERBS if conf is None or name in WEIGHTS]
    verb = random.choices(names, [WEIGHTS.get(name, 1) for name in names])[0]
    if verb not in WEIGHTS:
        return _without_config(verb, random)
    command = random.choice(("sweep", *COMMANDS)) if verb == "config" else verb
    given = [word for _ in range(random.choice((0, 1, 1, 2, 2, 3, 5))) for word in [_word(command, random, verb)] if word]
    words = [word.text for word in given]
    head = {"config": ["config", command], "train": ["train", random.choice(("wall", "wall", "push_t_pixels", "nope"))]}
    extra = [] if conf is None else ["--conf", str(conf)]
    tail = ["--dry-run"] if verb in ("sweep", "quality") else []
    if random.random() < 0.05:
        tail.append(random.choice(("--quiet", "--json", "--join", "--retry-failed", "--nope", "-x", "stray", "--conf", "--")))
    return Line(command, (*head.get(verb, [verb]), *words, *extra, *tail), tuple(given), conf)


def _word(command: str, random: Random, verb: str) -> Word | None:
    if random.random() < 0.2:
        group, name = random.choice(options(command))
        raw = (
            name
            if random.random() < 0.8
            else random.choice((f"[{name},gd]", f"{name},wall", spoilt(name, random), "null", "[]"))
        )
        return Word(f"{group}={raw}", Key(group), raw)
    key = random.choice(keys(command))
    if random.random() < 0.1:
        key = random.choice(keys(random.choice(tuple(COMMANDS))))
    elif random.random() < 0.06:
        key = Key(random.choice(SHORT))
    kind = kind_at(COMMANDS[command], key.name)
    raw = value(
        random, kind.example if kind is not None and kind.example and "=" not in kind.example else random.choice(NUMBERS)
    )
    if verb != "config" and any(part in key.name for part in REMOTE) and ("://" in raw or ":" in raw):
        return None
    written, marked = key.name, random.random() < 0.12
    if marked:
        mark = random.choice(("+", "++", "~", "@", "@pkg", "x", "z", ".", ":", " "))
        written = {"@": f"{written}@a", "@pkg": f"{written}@pkg:_global_", "x": spoilt(written, random)}.get(mark, "")
        written = written or (mark + key.name if mark[0] in "+~" else key.name + mark)
    if written.startswith("~") and random.random() < 0.6:
        return Word(written, key, "", True)
    return Word(f"{written}={raw}", key, raw, marked)


def _without_config(verb: str, random: Random) -> Line:
    """A command that reads an output folder."""
    names = ("smoke", "smok", "nope", "smoke@filled", "smoke@", "@", "smoke@nowhere", "", "*", *WORDS, *PATHS)
    words = [random.choice(names) for _ in range(random.choice((0, 1, 1, 2, 2, 3)))]
    words = [spoilt(word, random) if random.random() < 0.1 else word for word in words]
    if random.random() < 0.7:
        words.append(f"output={random.choice(('filled', 'filled', 'filled', *PATHS))}")
    if random.random() < 0.15:
        words.append(f"{random.choice(keys('sweep')).name}={random.choice(NUMBERS + WORDS)}")
    some: dict[str, tuple[tuple[str, ...], ...]] = {
        "export": (("--to", "new.zip"), ("--to", random.choice(PATHS)), ("--to", ""), ("--to",)),
        "import": (("smoke.zip",), ("smoke.zip", "--name", random.choice(WORDS)), ("--max-bytes", random.choice(NUMBERS))),
        "status": (("--json",), ("--nope",)),
        "models": (
            *(("inspect", "model"), ("inspect", random.choice(PATHS)), ("import", "model", "--name", random.choice(WORDS))),
            *(("import", "weights.pt", "--name", "x", "--task", "wall"), ("--action-mean", random.choice(NUMBERS)), ("model",)),
        ),
        "check": (("--set-aside",),),
        "data": (
            *(("inspect", "weights.pt"), ("inspect", random.choice(PATHS), "--json"), ("inspect", "model", "kind=hdf5")),
            *(("convert", random.choice(PATHS), "out=x"), ("convert", "weights.pt", "columns=[a]"), ("split",)),
        ),
        "ui": (("--port", random.choice(NUMBERS)), ("--optuna",)),
    }
    extra = random.choice(some[verb]) if verb in some and random.random() < 0.6 else ()
    if verb == "ui":  # nothing to serve there
        words = [word for word in words if not word.startswith("output=filled") and "tracking" not in word]
        words.append("output=empty")
    return Line("", (verb, *extra, *words) if random.random() < 0.7 else (verb, *words, *extra))
