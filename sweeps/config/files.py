"""Config files: ours, and a folder of the user's own, checked before Hydra reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from world_models.errors import UserError, require
from world_models.files.names import file_name
from world_models.files.yaml_reading import load_yaml

CONF = Path(__file__).parent.parent / "conf"
"""The configs that ship with the package."""

SECTIONS = {"planner": "planners", "protocol": "protocols", "task": "tasks"}
"""Groups whose files must say in a header where their values go, with the section that they go to."""


def groups(extra: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Config groups and their options, `{"task": ("push_t", "wall", ...), ...}`."""
    found: dict[str, set[str]] = {}
    for folder in (CONF, extra) if extra else (CONF,):
        for file in folder.glob("*/*.yaml"):
            found.setdefault(file.parent.name, set()).add(file.stem)
    return {name: tuple(sorted(options)) for name, options in sorted(found.items())}


def check_files(extra: Path) -> None:
    """Raise UserError unless every config in a user's folder can be read and has a name that no config of ours has."""
    require(
        extra.is_dir(),
        f"config folder {str(extra)!r} is not a folder: give one with sweep/NAME.yaml and the like.",
    )
    ours = groups()
    for file in sorted(extra.glob("*/*.yaml")):
        group = file.parent.name
        file_name(f"config {str(file)!r}: name", file.stem)
        require(
            file.stem not in ours.get(group, ()),
            f"config {str(file)!r} has the name of a {group} of ours, which would be used instead: give it another name.",
        )
        body = load_yaml(file, "config")
        require(body is None or isinstance(body, dict), f"config {str(file)!r} is not a group of keys: write lines KEY: VALUE.")
        require(
            file.read_bytes()[:2] not in (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb"),
            f"config {str(file)!r} begins with a byte order mark, which Hydra does not read: save it as UTF-8 without one.",
        )


def header_faults(values: Mapping[str, object], extra: Path | None) -> None:
    """Raise UserError where a file without its header put its values beside the section that they belong to."""
    for group, section in SECTIONS.items():
        if group not in values:
            continue
        files = sorted(extra.glob(f"{group}/*.yaml")) if extra else []
        lacking = [file for file in files if "@package" not in file.read_text(encoding="utf-8").partition("\n")[0]]
        if lacking:
            raise UserError(
                f"config {str(lacking[0])!r} lacks its header: its first line must be `# @package {section}.{lacking[0].stem}`."
            )
