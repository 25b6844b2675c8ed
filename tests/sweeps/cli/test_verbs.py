"""The commands are where a newcomer looks for them."""

import importlib
from pathlib import Path

from sweeps.cli.verbs import VERBS

COMMANDS = Path(__file__).parents[3] / "sweeps" / "commands"


def module_of(verb: str) -> str:
    return "import_" if verb == "import" else verb


def test_every_command_is_the_file_of_its_name_and_no_file_is_left_over() -> None:
    for verb, command in VERBS.items():
        assert importlib.import_module(f"sweeps.commands.{module_of(verb)}").COMMAND is command
    assert {file.stem for file in COMMANDS.glob("*.py")} - {"__init__"} == {module_of(verb) for verb in VERBS}


def test_every_command_teaches_by_examples() -> None:
    for verb, command in VERBS.items():
        assert f"  grasp {verb}" in command.help_text, verb
        assert command.summary[0].islower()
        assert not command.summary.endswith(".")
