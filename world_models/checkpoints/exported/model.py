"""A world model from an archive and the signature beside it: `model.pt2` and `model.yaml`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from world_models.base import PixelObservation, SquaredDistance
from world_models.checkpoints.exported.archive import Archive, open_archive
from world_models.checkpoints.exported.program import Program
from world_models.checkpoints.exported.script import load_script, methods_of
from world_models.errors import UnknownNameError, UserError, require
from world_models.files.names import inside
from world_models.files.yaml_reading import load_yaml
from world_models.parts import PREFIX, Parts
from world_models.sensors import Sensors

EXPORTED = f"{PREFIX}exported/1"
"""Format on the card of a model in an archive."""
LARGEST = 1_000_000
"""The largest size in a signature."""


@dataclass(frozen=True)
class Signature:
    """Sizes of a model that its archive does not say."""

    state: tuple[int, ...]
    """Shape of a state."""
    action: int
    """Size of one model step's action: environment action size times `action_block`."""
    history: int = 1
    encoder: str | None = None
    """An archive beside it that encodes observations; without one they are encoded by the method `encode` of TorchScript, or
    are states themselves."""
    pixels: int | None = None
    """Side of the pictures that it observes, px; none for state observations."""
    proprioception: int = 0

    @property
    def sensors(self) -> Sensors:
        """The observations that the model takes."""
        return Sensors() if self.pixels is None else Sensors("pixels", self.pixels, self.proprioception)


@dataclass(frozen=True)
class ExportedFiles:
    """The contents of an archive, of its encoder's, and its signature."""

    paths: tuple[Path, ...]
    """The archive, and its encoder's if it has one."""
    signature: Signature
    contents: tuple[bytes, ...]

    @property
    def path(self) -> Path:
        """The archive."""
        return self.paths[0]

    @property
    def digest(self) -> str:
        """Digest of all of them."""
        found = hashlib.sha256(repr(self.signature).encode())
        for content in self.contents:
            found.update(hashlib.sha256(content).digest())
        return found.hexdigest()[:16]

    @property
    def card(self) -> Mapping[str, object]:
        """The card of the model."""
        return {
            "format": EXPORTED,
            "name": self.path.stem,
            "model": {"action_dim": self.signature.action, "action_block": 1, "history": self.signature.history},
            "goal_costs": ["state"],
            "goal_cost": "state",
            "sensors": self.signature.sensors.as_card(),
        }


class ExportedModel(nn.Module):
    """The program as a `WorldModel`."""

    def __init__(self, program: nn.Module, encoder: nn.Module | None, signature: Signature) -> None:
        super().__init__()
        self.program, self.encoder = program, encoder
        self.state_shape, self.action_dim, self.history = signature.state, signature.action, signature.history
        methods = methods_of(program) if isinstance(program, torch.jit.ScriptModule) else set()
        self._step = "step" if "step" in methods else "forward"
        self._encodes = encoder is None and "encode" in methods
        self.register_buffer("like", torch.zeros(0))

    like: Tensor
    """An empty tensor of the model's device and floating type."""

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.like.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of states and actions."""
        return self.like.dtype

    def encode(self, observation: Any) -> Float[Tensor, "batch *state"]:
        """States of observations."""
        encode: Any = self.program.encode if self._encodes else self.encoder
        if encode is None:
            return observation
        if not isinstance(observation, PixelObservation):
            return encode(observation)
        senses = (observation.proprioception,) if observation.proprioception.shape[1] else ()
        return encode(observation.pixels, *senses)

    def step(self, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]) -> Float[Tensor, "n *state"]:
        """The next states."""
        return getattr(self.program, self._step)(states, actions)


def read_exported(path: Path) -> ExportedFiles:
    """An archive with its signature, `NAME.yaml` beside it. Raises UserError for one that is missing or senseless."""
    signature = _read_signature(path.with_suffix(".yaml"), path)
    paths = (path,) if signature.encoder is None else (path, inside(path.parent, signature.encoder))
    contents = []
    for file in paths:
        try:
            contents.append(file.read_bytes())
        except OSError as error:
            raise UserError(f"{file} cannot be read ({error.strerror}): give the path of an archive.") from error
    return ExportedFiles(paths, signature, tuple(contents))


def exported_parts(files: ExportedFiles) -> Parts:
    """The model of an archive, on the CPU. Raises UserError for an archive that does more than compute, or is damaged."""
    program, *encoders = (_module(open_archive(*each)) for each in zip(files.paths, files.contents, strict=True))
    model = ExportedModel(program, encoders[0] if encoders else None, files.signature)
    seen = encoders or model._encodes or files.signature.pixels is not None
    return Parts(model, {"state": SquaredDistance()}, "state", None if seen else nn.Identity(), files.signature.sensors)


def _module(archive: Archive) -> nn.Module:
    if archive.is_script:
        return load_script(archive)
    sentence = f"{archive.path} holds {len(archive.programs)} programs: save one in each file."
    require(len(archive.programs) == 1, sentence)
    try:
        return Program(archive, archive.programs[0])
    except UserError:
        raise
    # The JSON of a damaged or foreign archive may have any form.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise UserError(
            f"{archive.path} is not a program of torch.export as known here ({reason}): export it again."
        ) from error


def _read_signature(file: Path, path: Path) -> Signature:
    if not file.is_file():
        raise UserError(
            f"{path} needs its signature in {file.name} beside it: write lines like `state: [4]` and `action: 2` there."
        )
    raw = load_yaml(file, "signature of a world model")
    known = ("state", "action", "history", "encoder", "pixels", "proprioception")
    require(isinstance(raw, dict), f"{str(file)!r} is not a signature: give state and action, one on each line.")
    assert isinstance(raw, dict)
    for key in raw:
        if key not in known:
            raise UnknownNameError(f"key of {file.name}", str(key), known)
    for key in ("state", "action"):
        require(key in raw, f"{str(file)!r} lacks {key}: give its size.")
    shape = raw["state"] if isinstance(raw["state"], list) else [raw["state"]]
    sizes = {key: raw[key] for key in ("action", "history", "pixels") if raw.get(key) is not None}
    for key, value in (*(("state", each) for each in shape), *sizes.items()):
        sound = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST
        require(sound, f"{key} {value!r:.80} in {str(file)!r} is not a size: give a whole number from 1 to {LARGEST}.")
    senses, encoder = raw.get("proprioception", 0), raw.get("encoder")
    sound = isinstance(senses, int) and not isinstance(senses, bool) and 0 <= senses <= LARGEST
    require(sound, f"proprioception {senses!r:.80} in {str(file)!r} is not a number of features: give 0 or more.")
    sound = encoder is None or isinstance(encoder, str)
    require(sound, f"encoder {encoder!r:.80} in {str(file)!r} is not a file: give the name of an archive beside it.")
    return Signature(tuple(shape), encoder=encoder, proprioception=senses, **sizes)
