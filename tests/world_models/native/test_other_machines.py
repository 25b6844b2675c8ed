"""The float32 kernel on processors that this machine is not: a driver in C, on arm64 under qemu, and macOS's compiler."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from tests.support.programs import programs
from world_models.base import Context, rollout
from world_models.models.mlp import MLPConfig, ResidualMLP
from world_models.native.build import HERE
from world_models.native.units import SWITCH, unit_named, usable_units

DRIVER = Path(__file__).parent / "driver.c"
ROWS, TIME, OBSERVATION, ACTION = 39, 4, 5, 2
ARM = ("gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user", "aarch64-linux-gnu-gcc", "qemu-aarch64")
HEADERS = {
    "math.h": "float sqrtf(float);",
    "string.h": "#include <stddef.h>\nvoid *memcpy(void *, const void *, size_t);\nvoid *memset(void *, int, size_t);",
}
"""Declarations of the functions that the kernel takes from the C library."""
SILU: dict[str, object] = {"activation": "silu", "width": 256}
RELU: dict[str, object] = {"activation": "relu", "width": 96, "layer_norm": False, "depth": 4}


@pytest.mark.parametrize(("config", "kind"), [(SILU, "arm64"), (RELU, "arm64"), (SILU, "avx2")])
def test_a_driver_in_c_gives_the_results_of_float64_and_rows_alone_are_rows_of_a_batch(
    config: dict[str, object], kind: str, tmp_path: Path
) -> None:
    write_fixture(tmp_path / "fixture", ResidualMLP(MLPConfig(OBSERVATION, ACTION, **config)))  # pyright: ignore
    program, before = str(tmp_path / "driver"), []
    if kind == "arm64":
        compiler, emulator = programs(*ARM)
        flags, before = (*unit_named("neon").flags, "-static"), [emulator]
    else:
        if isinstance(usable_units({SWITCH: kind}), str):
            pytest.skip("the processor has no AVX2")
        (compiler,) = programs("gcc", "gcc")
        flags = unit_named(kind).flags
    command = [compiler, *flags, "-Wall", "-Werror", f"-I{HERE}", "-o", program, str(DRIVER), "-lm"]
    subprocess.run(command, check=True)
    lines = subprocess.run([*before, program, str(tmp_path / "fixture")], capture_output=True, text=True, check=True).stdout
    results = {name: (float(error), int(differing)) for name, error, differing in map(str.split, lines.splitlines())}
    assert set(results) == {"states", "to_start", "to_actions", "lifted_states", "lifted_actions"}
    for name, (error, differing) in results.items():
        assert error <= 1e-5, name
        assert differing == 0, name


@pytest.mark.parametrize(("target", "unit"), [("arm64-apple-macos", "neon"), ("x86_64-apple-macos", "avx2")])
def test_clang_compiles_the_kernel_for_macos_without_a_header_of_linux(target: str, unit: str, tmp_path: Path) -> None:
    (clang,) = programs("clang", "clang")
    for name, text in HEADERS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    command = [clang, "-fsyntax-only", "-ffreestanding", f"--target={target}", "-nostdlibinc", f"-I{tmp_path}"]
    subprocess.run([*command, *unit_named(unit).flags, str(HERE / "mlp.c")], check=True)


def write_fixture(path: Path, model: ResidualMLP) -> None:
    """Write the model, inputs and exact results, in the order that the driver reads."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64).float().double()

    for tensor in model.parameters():
        tensor.data = drawn(*tensor.shape).float() / tensor.shape[-1] ** 0.5
    model.delta_scale.copy_(drawn(OBSERVATION).float() * 0.1)
    model.double()
    config = model.config
    start, actions, cotangent = drawn(ROWS, OBSERVATION), drawn(ROWS, TIME, ACTION), drawn(ROWS, TIME, OBSERVATION)
    leaves = start.clone().requires_grad_(), actions.clone().requires_grad_()
    states = rollout(model, Context(leaves[0].unsqueeze(1), actions.new_zeros(ROWS, 0, ACTION)), leaves[1])
    results = (states, *torch.autograd.grad(states, leaves, cotangent))
    layers = model._weights().layers
    sequence, goals, features = drawn(ROWS, TIME, OBSERVATION), drawn(ROWS, OBSERVATION), drawn(OBSERVATION).abs()
    weight = drawn(ROWS, TIME).abs()
    written = [
        *(part for pair in zip(layers.weights, layers.biases, strict=True) for part in pair),
        *(model.delta_scale, start, actions, cotangent, *results, sequence, goals, weight, features),
        *lifted(model, sequence, actions, goals, weight, features),
    ]
    sizes = (config.layer_norm, config.activation == "silu", ROWS, TIME)
    header = torch.tensor([OBSERVATION, ACTION, config.width, config.depth, *map(int, sizes)])
    parts = [header, *(part.detach().float().contiguous() for part in written)]
    path.write_bytes(b"".join(part.numpy().tobytes() for part in parts))


def lifted(
    model: ResidualMLP,
    sequence: torch.Tensor,
    actions: torch.Tensor,
    goals: torch.Tensor,
    weight: torch.Tensor,
    features: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """GRASP's reshaped gradients by autograd: of targets, whose last step is zero, and of actions."""
    targets, free = sequence.clone().requires_grad_(), actions.clone().requires_grad_()
    following = model.step(sequence.view(-1, 1, OBSERVATION), free.view(-1, 1, ACTION)).view_as(sequence)
    goal = ((following - goals.unsqueeze(1)).square() * features).mean(-1) * weight
    loss = goal.sum() + (following[:, :-1] - targets[:, 1:]).square().mean(-1).sum()
    to_targets, to_actions = torch.autograd.grad(loss, (targets, free))
    return torch.cat([to_targets[:, 1:], torch.zeros(ROWS, 1, OBSERVATION)], 1), to_actions
