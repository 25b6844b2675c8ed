"""The residual MLP's rollout by a kernel in C: tensor functions around `mlp.c`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.native.build import NativeUnavailableError, load_library
from world_models.native.units import Unit, usable_units
from world_models.precision import Arithmetic

_ROWS = 32
_TILE = 32
_MOST_WIDTH = 1024
_BLOCKS_A_THREAD = 32
"""Least product of row blocks and steps per thread; below it another thread costs more than it saves."""


class _Matrix(ctypes.Structure):
    _fields_ = (
        ("hi", ctypes.c_void_p),
        ("lo", ctypes.c_void_p),
        ("full", ctypes.c_void_p),
        ("inputs", ctypes.c_int64),
        ("outputs", ctypes.c_int64),
        ("used", ctypes.c_int64),
    )


_COUNTS = ("observation", "action", "width", "depth", "layer_norm", "silu", "terms")


class _Model(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int64) for name in _COUNTS),
        *((name, ctypes.c_void_p) for name in ("forward", "backward", "bias", "scale")),
    )


@dataclass(frozen=True)
class Layers:
    """Parts of a model that the kernel reads: weights `[outputs, inputs]` and biases from input layer to output layer."""

    weights: tuple[Float[Tensor, "_ _"], ...]
    """Weights; the input layer's inputs are the state's features, then the action's."""
    biases: tuple[Float[Tensor, " _"], ...]
    delta_scale: Float[Tensor, " observation"]
    layer_norm: bool
    activation: str


@dataclass(frozen=True)
class Kernel:
    """The compiled kernel, and the unit that it runs on."""

    unit: Unit
    library: ctypes.CDLL


@cache
def mlp_kernel() -> Kernel | str:
    """The fastest kernel that this machine can compile and run, or a sentence that says why there is none.

    Raises UnknownNameError if `GRASP_KERNEL` names no unit.
    """
    found = usable_units()
    if isinstance(found, str):
        return found
    reason = ""
    for unit in found:
        kernel = compiled(unit)
        if isinstance(kernel, Kernel):
            return kernel
        reason = kernel
    return reason


def kernel_words() -> str:
    """The kernel that precision `high` gets on this machine, or why there is none, in a line."""
    kernel = mlp_kernel()
    if isinstance(kernel, str):
        return f"no kernel, so models are computed by torch in float32: {kernel}"
    return f"kernel: {_precision(kernel.unit, 3)}, {kernel.unit.words}"


def _precision(unit: Unit, terms: int) -> str:
    if not unit.bfloat16:
        return "float32"
    exact = "bfloat16x3" if unit.name == "amx" else "float32"
    return "bfloat16" if terms == 1 else f"{exact}, gradients bfloat16"


def compiled(unit: Unit) -> Kernel | str:
    """The kernel for a unit, or a sentence that says why it is unavailable."""
    try:
        library = load_library("mlp.c", unit.flags)
    except NativeUnavailableError as error:
        return str(error)
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    library.mlp_kept_bytes.restype = library.mlp_scratch_bytes.restype = count
    library.mlp_kept_bytes.argtypes = library.mlp_scratch_bytes.argtypes = (pointer,)
    library.mlp_forward.argtypes = (pointer, count, count, *[pointer] * 5)
    library.mlp_backward.argtypes = (pointer, count, count, *[pointer] * 5)
    library.mlp_lifted.argtypes = (pointer, count, count, count, *[pointer] * 9)
    library.mlp_lifted.restype = None
    library.mlp_forward.restype = library.mlp_backward.restype = None
    return Kernel(unit, library) if library.mlp_init() else "the operating system does not grant AMX tile registers."


def fits(layers: Layers) -> bool:
    """Whether the kernel supports this model: float32 on a CPU, ReLU or SiLU, a width of whole tiles."""
    width, like = layers.weights[0].shape[0], layers.delta_scale
    sizes = width % _TILE == 0 and width <= _MOST_WIDTH
    return sizes and like.device.type == "cpu" and like.dtype == torch.float32 and layers.activation in ("relu", "silu")


class NativeMLP:
    """A model laid out for the kernel; raises NativeUnavailableError if the kernel is unavailable.

    `terms` is the number of terms of a forward product with bfloat16: 3 keeps at least 16 bits of every number, 1 keeps 8;
    backward products keep 8. On other units everything is float32.
    """

    def __init__(self, layers: Layers, terms: int) -> None:
        kernel = mlp_kernel()
        if isinstance(kernel, str):
            raise NativeUnavailableError(kernel)
        library = kernel.library
        self._unit, self._library = kernel.unit, library
        self._terms, self._panel = terms, library.mlp_panel()
        first, last = layers.weights[0], layers.weights[-1]
        self._features, self._actions = last.shape[0], first.shape[1] - last.shape[0]
        self._held: list[object] = []
        counts = (
            self._features, self._actions, first.shape[0], len(layers.weights) - 1,
            int(layers.layer_norm), int(layers.activation == "silu"), terms,
        )  # fmt: skip
        biases = [bias.detach().contiguous() for bias in layers.biases]
        scale = layers.delta_scale.detach().contiguous()
        pointers = (ctypes.c_void_p * len(biases))(*[bias.data_ptr() for bias in biases])
        matrices = (self._matrices([w.t() for w in layers.weights]), self._matrices(layers.weights))
        self._held += [biases, scale, pointers, *matrices]
        self._model = _Model(*counts, *(ctypes.addressof(array) for array in (*matrices, pointers)), scale.data_ptr())
        self._address = ctypes.addressof(self._model)
        self._kept_bytes = library.mlp_kept_bytes(self._address)
        self._scratch_bytes = library.mlp_scratch_bytes(self._address)

    @property
    def arithmetic(self) -> Arithmetic:
        """The processor's part that computes it, and how precisely."""
        return Arithmetic(f"c {self._unit.words}", _precision(self._unit, self._terms))

    def _matrices(self, matrices: Sequence[Tensor]) -> ctypes.Array[_Matrix]:
        return (_Matrix * len(matrices))(*[self._matrix(x) for x in matrices])

    def _matrix(self, matrix: Float[Tensor, "inputs outputs"]) -> _Matrix:
        inputs, outputs = (-(-size // self._panel) * self._panel for size in matrix.shape)
        full = matrix.new_zeros(inputs, outputs)
        full[: matrix.shape[0], : matrix.shape[1]] = matrix.detach()
        panels = full.view(inputs, outputs // self._panel, self._panel).transpose(0, 1).contiguous()
        high = full.bfloat16()
        parts = [_tiled(high), _tiled((full - high).bfloat16())] if self._unit.bfloat16 else []
        self._held += [*parts, panels]
        addresses = [part.data_ptr() for part in parts] or [None, None]
        return _Matrix(*addresses, panels.data_ptr(), inputs, outputs, matrix.shape[0])

    def forward(
        self, start: Float[Tensor, "n observation"], actions: Float[Tensor, "n time action"], keep: bool
    ) -> tuple[Float[Tensor, "n time observation"], Tensor]:
        """States s_1..s_T, and with `keep` the memory that `backward` reads (else empty)."""
        start, actions = start.contiguous(), actions.contiguous()
        rows, time = actions.shape[:2]
        states = start.new_empty(rows, time, self._features)
        kept = self._memory(_blocks(rows) * time * self._kept_bytes if keep else 0)

        def part(first: int, count: int) -> None:
            scratch = self._memory(self._scratch_bytes)
            self._library.mlp_forward(
                self._address, count, time, _at(start, first), _at(actions, first), _at(states, first),
                self._kept_at(kept, first, time) if keep else None, scratch.data_ptr(),
            )  # fmt: skip

        _in_parts(part, rows, time)
        return states, kept

    def backward(
        self, cotangent: Float[Tensor, "n time observation"], kept: Tensor, to_start: bool
    ) -> tuple[Float[Tensor, "n observation"] | None, Float[Tensor, "n time action"]]:
        """Cotangents of start (if requested) and actions from those of the states."""
        cotangent = cotangent.contiguous()
        rows, time = cotangent.shape[:2]
        start = cotangent.new_empty(rows, self._features) if to_start else None
        actions = cotangent.new_empty(rows, time, self._actions)

        def part(first: int, count: int) -> None:
            scratch = self._memory(self._scratch_bytes)
            self._library.mlp_backward(
                self._address, count, time, _at(cotangent, first), self._kept_at(kept, first, time),
                None if start is None else _at(start, first), _at(actions, first), scratch.data_ptr(),
            )  # fmt: skip

        _in_parts(part, rows, time)
        return start, actions

    def lifted_gradients(
        self,
        sequence: Float[Tensor, "batch time observation"],
        actions: Float[Tensor, "batch time action"],
        goals: Float[Tensor, "batch observation"],
        goal_weight: Float[Tensor, "batch time"],
        features: Float[Tensor, " observation"],
    ) -> tuple[Float[Tensor, "batch virtual observation"], Float[Tensor, "batch time action"]]:
        """GRASP's reshaped gradients (`world_models.base.LiftedModel`); `sequence` holds s_0..s_{T-1}."""
        batch, time = actions.shape[:2]
        given = [x.contiguous() for x in (sequence, actions, goals, goal_weight, features)]
        results = torch.empty_like(given[0]), torch.empty_like(given[1])
        pointers = [x.data_ptr() for x in (*given, *results)]

        def part(first: int, count: int) -> None:
            memory = self._memory(self._kept_bytes), self._memory(self._scratch_bytes)
            self._library.mlp_lifted(self._address, first, count, time, *pointers, *(x.data_ptr() for x in memory))

        _in_parts(part, batch * time, 1)
        return results[0][:, :-1], results[1]

    def _memory(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8)

    def _kept_at(self, kept: Tensor, first: int, time: int) -> int:
        return kept.data_ptr() + first // _ROWS * time * self._kept_bytes


def _blocks(rows: int) -> int:
    return -(-rows // _ROWS)


def _tiled(matrix: Tensor) -> Tensor:
    """Tiles of 16 pairs of inputs x 16 outputs, with the tiles of one column of outputs consecutive."""
    inputs, outputs = matrix.shape
    return matrix.view(inputs // 32, 16, 2, outputs // 16, 16).permute(3, 0, 1, 4, 2).contiguous()


def _at(tensor: Tensor, row: int) -> int:
    return tensor.data_ptr() + row * tensor.stride(0) * tensor.element_size()


def _in_parts(part: Callable[[int, int], None], rows: int, time: int) -> None:
    """Run `part(first row, rows)` over all rows, in up to torch's number of threads if that pays off."""
    blocks = _blocks(rows)
    threads = min(torch.get_num_threads(), blocks, blocks * time // _BLOCKS_A_THREAD)
    if threads <= 1:
        part(0, rows)
        return
    each = -(-blocks // threads) * _ROWS
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(part, first, min(each, rows - first)) for first in range(0, rows, each)]:
            done.result()
