"""The residual MLP's kernel in C: the same function to its stated precision, row by row, and optional."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from planners import GRASP, GraspSettings
from planners.objectives import lifted_gradients
from tests.support.planning import problems_for
from world_models.base import Context, rollout, step_pullback
from world_models.errors import UnknownNameError
from world_models.models.mlp import MLPConfig, ResidualMLP, StateGoalCost
from world_models.native import build
from world_models.native import mlp as native
from world_models.native.build import NativeUnavailableError, load_library
from world_models.native.units import SWITCH, UNITS, Unit, unit_named, usable_units
from world_models.precision import Arithmetic, arithmetic_of, current_precision, matmul_precision

CPU = torch.device("cpu")


def needs_kernel(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test with each of the kernels that this processor has."""
    names = [unit.name for unit in UNITS]
    return pytest.mark.usefixtures("kernel")(pytest.mark.parametrize("kernel", names, indirect=True)(test))


@pytest.fixture
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Unit:
    """Replace the best kernel by that of one unit."""
    unit = unit_named(request.param)
    usable = usable_units({SWITCH: unit.name})
    if isinstance(usable, str):
        pytest.skip(f"no kernel: {usable}")
    kernel = native.compiled(unit)
    if isinstance(kernel, str):
        pytest.skip(f"no kernel: {kernel}")
    monkeypatch.setattr(native, "mlp_kernel", lambda: kernel)
    return unit


def make(**config: object) -> ResidualMLP:
    torch.manual_seed(0)
    model = ResidualMLP(MLPConfig(**{"observation_dim": 5, "action_dim": 2, "width": 64, **config}))  # pyright: ignore
    model.set_normalisation(torch.randn(5), torch.rand(5) + 0.5, torch.rand(5) * 0.1 + 0.01)
    return model.requires_grad_(False)


def inputs(model: ResidualMLP, rows: int, time: int) -> tuple[torch.Tensor, ...]:
    """Starts, actions and cotangents of states."""
    generator = torch.Generator().manual_seed(rows)
    sizes = ((rows, 5), (rows, time, model.action_dim), (rows, time, 5))
    start, actions, cotangent = (torch.randn(size, generator=generator) for size in sizes)
    return start, actions, cotangent


def unrolled(
    model: ResidualMLP, precision: str, start: torch.Tensor, actions: torch.Tensor, cotangent: torch.Tensor
) -> list[torch.Tensor]:
    """States, and the cotangents of start and actions."""
    leaves = start.clone().requires_grad_(), actions.clone().requires_grad_()
    with matmul_precision(precision, CPU):
        states = rollout(model, Context(leaves[0].unsqueeze(1), actions.new_zeros(len(start), 0, model.action_dim)), leaves[1])
    return [states.detach(), *torch.autograd.grad(states, leaves, cotangent)]


def error(value: torch.Tensor, reference: torch.Tensor) -> float:
    """Error relative to the size of the reference."""
    return ((value - reference).norm() / reference.norm()).item()


@needs_kernel
@pytest.mark.parametrize(("rows", "time"), [(1, 1), (33, 7), (100, 1)])
@pytest.mark.parametrize(
    "config",
    [
        {"activation": "relu", "width": 256},
        {"activation": "silu", "width": 256},
        {"activation": "silu", "width": 96, "depth": 5, "layer_norm": False},
        {"activation": "relu", "depth": 1, "action_block": 20},
        {"activation": "relu", "width": 32, "depth": 2, "action_block": 3},
    ],
)
def test_values_and_gradients_are_as_precise_as_promised(kernel: Unit, config: dict[str, object], rows: int, time: int) -> None:
    model = make(**config)
    assert native.fits(model._weights().layers)
    given = inputs(model, rows, time)
    exact = unrolled(make(**config).double(), "highest", *(x.double() for x in given))
    high, medium = (unrolled(model, precision, *given) for precision in ("high", "medium"))
    assert error(high[0], exact[0]) < 1e-5
    assert error(medium[0], exact[0]) < (2e-3 if kernel.bfloat16 else 1e-5)
    for one, reference in zip(high[1:], exact[1:], strict=True):
        assert error(one, reference) < (2e-2 if kernel.bfloat16 else 1e-5)
    assert isinstance(model._weights().high, native.NativeMLP), "the kernel is what ran"
    with matmul_precision("high", CPU):
        following, pullback = step_pullback(model, given[0].unsqueeze(1), given[1][:, :1])
    assert torch.equal(following, high[0][:, 0])
    (alone,) = unrolled(model, "high", given[0], given[1][:, :1], given[2][:, :1])[2:]
    assert torch.equal(pullback(given[2][:, 0]), alone)


@needs_kernel
@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("precision", ["high", "medium"])
def test_few_rows_are_the_first_of_many_bit_for_bit(activation: str, precision: str) -> None:
    model = make(activation=activation)
    given = inputs(model, 40, 3)
    whole = unrolled(model, precision, *given)
    for rows in (*range(1, 19), 31, 32, 33):
        few = unrolled(model, precision, *(x[:rows] for x in given))
        assert all(torch.equal(one, all_of_them[:rows]) for one, all_of_them in zip(few, whole, strict=True)), rows


@needs_kernel
@pytest.mark.parametrize("activation", ["relu", "silu"])
@pytest.mark.parametrize("steps", [1, 2, 9])
def test_lifted_gradients_are_those_of_the_general_way(
    kernel: Unit, activation: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(activation=activation)
    cost = StateGoalCost(torch.tensor([1.0, 0.0, 2.0, 0.5, 3.0]))
    problems = replace(problems_for(model, batch=7, steps=steps), goal_cost=cost)
    states, actions, weight = torch.randn(7, steps - 1, 5), torch.randn(7, steps, 2), torch.rand(7, steps)
    exact = lifted_gradients(model, problems, states, actions, weight)
    with matmul_precision("high", CPU):
        whole = lifted_gradients(model, problems, states, actions, weight)
        rows = [slice(row, row + 1) for row in range(7)]
        apart = [lifted_gradients(model, problems.rows(r), states[r], actions[r], weight[r]) for r in rows]
        monkeypatch.setattr(native, "_BLOCKS_A_THREAD", 1)
        monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
        threaded = lifted_gradients(model, problems, states, actions, weight)
        monkeypatch.setattr(ResidualMLP, "lifted_gradients", lambda *_: None)
        general = lifted_gradients(model, problems, states, actions, weight)
    for part in range(2):
        assert torch.equal(whole[part], torch.cat([gradients[part] for gradients in apart]))
        assert torch.equal(whole[part], threaded[part])
        torch.testing.assert_close(whole[part], general[part], rtol=1e-2, atol=1e-3)
    assert error(whole[1], exact[1]) < (2e-2 if kernel.bfloat16 else 1e-5)
    if steps > 1:
        assert error(whole[0], exact[0]) < 1e-5


@needs_kernel
@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_rows_are_independent_bit_for_bit_also_of_a_broken_one(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(activation=activation)
    start, actions, cotangent = inputs(model, 70, 5)
    together = unrolled(model, "high", start, actions, cotangent)
    apart = [unrolled(model, "high", *(x[row : row + 1] for x in (start, actions, cotangent))) for row in range(70)]
    for whole, parts in zip(together, zip(*apart, strict=True), strict=True):
        assert torch.equal(whole, torch.cat(parts))
    with monkeypatch.context() as patch:
        patch.setattr(native, "_BLOCKS_A_THREAD", 1)
        patch.setattr(torch, "get_num_threads", lambda: 3)
        for whole, threaded in zip(together, unrolled(model, "high", start, actions, cotangent), strict=True):
            assert torch.equal(whole, threaded)
    for bad in (torch.nan, torch.inf):
        broken = actions.clone()
        broken[40, 2] = bad
        results = unrolled(model, "high", start, broken, cotangent)
        others = torch.arange(70) != 40
        for whole, result in zip(together, results, strict=True):
            assert torch.equal(whole[others], result[others])
        assert not torch.isfinite(results[0][40, 2:]).any()
        assert torch.equal(results[0][40, :2], together[0][40, :2])


def test_avx512_and_avx2_give_the_same_bits_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = [
        native.compiled(unit_named(name)) for name in ("avx512", "avx2") if not isinstance(usable_units({SWITCH: name}), str)
    ]
    if len(kernels) < 2 or any(isinstance(kernel, str) for kernel in kernels):
        pytest.skip("needs AVX-512 and a C compiler")
    for activation in ("relu", "silu"):
        results = []
        for kernel in kernels:
            monkeypatch.setattr(native, "mlp_kernel", lambda kernel=kernel: kernel)
            model = make(activation=activation, width=96)
            results.append(unrolled(model, "high", *inputs(model, 7, 5)))
        assert all(map(torch.equal, *results))


@needs_kernel
def test_a_model_says_what_computes_it(kernel: Unit) -> None:
    model = make()
    high = {"amx": "bfloat16x3, gradients bfloat16", "avx512_bf16": "float32, gradients bfloat16"}.get(kernel.name, "float32")
    expected = {
        "highest": Arithmetic("torch", "float32"),
        "high": Arithmetic(f"c {kernel.words}", high),
        "medium": Arithmetic(f"c {kernel.words}", "bfloat16" if kernel.bfloat16 else "float32"),
    }
    for precision, arithmetic in expected.items():
        with matmul_precision(precision, CPU):
            assert arithmetic_of(model, CPU, torch.float32) == arithmetic
            assert arithmetic_of(make().requires_grad_(True), CPU, torch.float32) == expected["highest"], (
                "trained, so computed by torch"
            )


@needs_kernel
def test_float64_other_activations_and_odd_widths_are_computed_as_ever() -> None:
    for model in (make().double(), make(activation="tanh"), make(width=40), make().requires_grad_(True)):
        given = [x.to(model.dtype) for x in inputs(model, 9, 3)]
        for one, other in zip(unrolled(model, "high", *given), unrolled(model, "highest", *given), strict=True):
            assert torch.equal(one, other)


@needs_kernel
def test_grasp_in_a_batch_is_grasp_alone_and_does_as_well_as_in_float32() -> None:
    model = make(activation="silu")
    problems = problems_for(model, batch=5, steps=8)
    planner = GRASP(GraspSettings(iterations=60, sync_every=20))
    exact = planner.plan(model, problems, range(10_000, 10_005))
    with matmul_precision("high", CPU):
        whole = planner.plan(model, problems, range(10_000, 10_005))
        alone = planner.plan(model, problems.rows(slice(2, 3)), [10_002])
    torch.testing.assert_close(alone.actions, whole.actions[2:3])
    torch.testing.assert_close(whole.cost, exact.cost, rtol=0.1, atol=1e-4)


def test_without_a_kernel_precision_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "mlp_kernel", lambda: "there is no C compiler.")
    model = make()
    given = inputs(model, 9, 3)
    for one, other in zip(unrolled(model, "high", *given), unrolled(model, "highest", *given), strict=True):
        assert torch.equal(one, other)


def test_precision_holds_for_its_block_only() -> None:
    assert current_precision() == "highest"
    with matmul_precision("high", CPU):
        with matmul_precision("highest", CPU):
            assert current_precision() == "highest"
        assert current_precision() == "high"
    with pytest.raises(ZeroDivisionError), matmul_precision("medium", CPU):
        raise ZeroDivisionError
    assert current_precision() == "highest"
    with pytest.raises(UnknownNameError, match="did you mean 'high"), matmul_precision("hihg", CPU):
        pass


@pytest.fixture
def compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A separate C file, an empty cache, and a compiler that counts its calls in `calls`."""
    real = next((build.shutil.which(name) for name in ("cc", "gcc", "clang") if build.shutil.which(name)), None)
    if real is None:
        pytest.skip("no C compiler: install gcc or clang (apt-get install gcc).")
    (tmp_path / "seven.c").write_text("int seven(void) { return 7; }", encoding="utf-8")
    script = tmp_path / "compiler"
    script.write_text(f'#!/bin/sh\necho x >>{tmp_path}/calls\nexec {real} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr(build, "HERE", tmp_path)
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_a_kernel_is_compiled_once_for_each_version_of_its_source(compiler: Path) -> None:
    assert load_library("seven.c", ()).seven() == 7
    assert load_library("seven.c", ()).seven() == 7
    assert (compiler / "calls").read_text(encoding="utf-8") == "x\n"
    (compiler / "seven.c").write_text("int seven(void) { return 70 / 10; }", encoding="utf-8")
    assert load_library("seven.c", ()).seven() == 7
    assert (compiler / "calls").read_text(encoding="utf-8") == "x\nx\n"
    left = list((compiler / "cache" / "grasp-orchestrator").iterdir())
    assert len(left) == 2, "no half-written files stay behind"


def test_a_cache_that_others_can_write_to_is_not_trusted(compiler: Path) -> None:
    folder = compiler / "cache" / "grasp-orchestrator"
    folder.mkdir(parents=True)
    folder.chmod(stat.S_IRWXU | stat.S_IRWXO)
    assert load_library("seven.c", ()).seven() == 7
    assert list(folder.iterdir()) == []


def test_the_reason_for_a_missing_kernel_is_reported(compiler: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (compiler / "seven.c").write_text("int seven(void) { return ; ", encoding="utf-8")
    with pytest.raises(NativeUnavailableError, match=r"compiler failed: .*seven\.c"):
        load_library("seven.c", ())
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(compiler / "nowhere"))
    with pytest.raises(NativeUnavailableError, match="no C compiler"):
        load_library("seven.c", ())
