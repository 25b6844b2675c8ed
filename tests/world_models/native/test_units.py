"""Units of processors: which are usable, how kernels are compiled for them, and the switch that turns them off."""

from __future__ import annotations

import pytest

from world_models.errors import UnknownNameError
from world_models.native import mlp as native
from world_models.native import units
from world_models.native.build import NativeUnavailableError, shared_flags
from world_models.native.units import SWITCH, UNITS, linux_extensions, mac_extensions, unit_named, usable_units

ZEN_3 = "processor\t: 0\nflags\t\t: fpu sse2 avx avx2 fma\n\nprocessor\t: 1\nflags\t\t: fpu\n"
SKYLAKE = "flags : avx2 fma avx512f avx512bw avx512vl avx512dq"
GRAVITON = "processor\t: 0\nFeatures\t: fp asimd evtstrm aes\n"


def on(monkeypatch: pytest.MonkeyPatch, machine: str, extensions: frozenset[str]) -> None:
    """Pretend to be on another machine."""
    monkeypatch.setattr(units.platform, "machine", lambda: machine)
    monkeypatch.setattr(units, "processor", lambda: extensions)


@pytest.mark.parametrize(
    ("machine", "extensions", "names"),
    [
        ("x86_64", linux_extensions(ZEN_3), ["avx2"]),
        ("AMD64", linux_extensions(SKYLAKE), ["avx512", "avx2"]),
        ("x86_64", frozenset(unit_named("amx").extensions) | {"avx2"}, ["amx", "avx512_bf16", "avx512", "avx2"]),
        ("aarch64", linux_extensions(GRAVITON), ["neon"]),
        ("arm64", mac_extensions("", "", "arm64"), ["neon"]),
        ("x86_64", mac_extensions("FPU SSE4.2 FMA AVX1.0", "RDWRFSGS BMI1 AVX2", "x86_64"), ["avx2"]),
    ],
)
def test_the_fastest_unit_of_a_processor_comes_first(
    machine: str, extensions: frozenset[str], names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, machine, extensions)
    usable = usable_units({})
    assert not isinstance(usable, str)
    assert [unit.name for unit in usable] == names
    for name in names:
        assert usable_units({SWITCH: name}) == [unit_named(name)]


def test_why_there_is_no_unit_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, "x86_64", frozenset({"avx"}))
    assert usable_units({}) == "the processor lacks avx2, fma, or the system does not list its extensions."
    assert usable_units({SWITCH: "neon"}) == "none is written for neon of x86_64 processors."
    assert usable_units({SWITCH: "torch"}) == "GRASP_KERNEL=torch turns it off."
    on(monkeypatch, "riscv64", frozenset())
    assert usable_units({}) == "none is written for any unit of riscv64 processors."
    with pytest.raises(UnknownNameError, match=r"GRASP_KERNEL.*did you mean 'avx2'"):
        usable_units({SWITCH: "avx"})


def test_a_unit_that_does_not_compile_gives_way_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_for_avx2(source: str, flags: tuple[str, ...]) -> object:
        if "-mavx2" in flags:
            return real(source, flags)
        raise NativeUnavailableError("cc failed: unknown flag.")

    usable = usable_units({})
    if isinstance(usable, str) or unit_named("avx2") not in usable:
        pytest.skip("the processor has no AVX2")
    real = native.load_library
    monkeypatch.setattr(native, "load_library", only_for_avx2)
    chosen = native.mlp_kernel.__wrapped__()
    assert not isinstance(chosen, str)
    assert chosen.unit.name == "avx2"
    monkeypatch.setattr(native, "usable_units", lambda: list(UNITS[:2]))
    assert native.mlp_kernel.__wrapped__() == "cc failed: unknown flag."


def test_flags_of_the_compiler() -> None:
    assert unit_named("avx2").flags == ("-O3", "-std=gnu11", "-ffp-contract=fast", "-mavx2", "-mfma")
    assert unit_named("neon").flags == ("-O3", "-std=gnu11", "-ffp-contract=fast")
    assert unit_named("avx512_bf16").flags[:4] == ("-O3", "-std=gnu11", "-mavx512f", "-mavx512bw")
    assert "-mavx512bf16" in unit_named("avx512_bf16").flags
    assert "-mamx-tile" in unit_named("amx").flags
    assert shared_flags("Linux") == ("-shared", "-fPIC")
    assert shared_flags("Darwin") == ("-dynamiclib",)
