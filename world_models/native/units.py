"""Units of a processor that kernels are compiled for, and the choice of the best one at run time."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from world_models.errors import UnknownNameError

SWITCH = "GRASP_KERNEL"
"""Environment variable that names the only unit to use, or `torch` for no kernel."""
TORCH = "torch"
_SECONDS = 10


@dataclass(frozen=True)
class Unit:
    """A part of a processor, and how a kernel is compiled for it."""

    name: str
    """Its name in `SWITCH`."""
    words: str
    """Its name in reports."""
    machines: tuple[str, ...]
    """Architectures that have it, as `platform.machine()` spells them in lower case."""
    extensions: tuple[str, ...]
    """Extensions that a processor must have, by their names in Linux."""
    bfloat16: bool = False
    """Whether the kernel multiplies bfloat16 numbers; else it is float32 throughout."""

    @property
    def flags(self) -> tuple[str, ...]:
        """The compiler's flags."""
        own = tuple(_flag(name) for name in self.extensions) if self.machines == _X86 else ()
        # GCC contracts products and sums by default, clang only within an expression.
        return ("-O3", "-std=gnu11", *(() if self.bfloat16 else ("-ffp-contract=fast",)), *own)


_X86, _ARM = ("x86_64", "amd64"), ("aarch64", "arm64")
LANES = ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512_bf16", "fma")
TILES = ("amx_tile", "amx_bf16")
UNITS = (
    Unit("amx", "AMX", _X86, (*LANES, *TILES), bfloat16=True),
    Unit("avx512_bf16", "AVX-512", _X86, LANES, bfloat16=True),
    Unit("avx512", "AVX-512F", _X86, ("avx512f", "fma")),
    Unit("avx2", "AVX2", _X86, ("avx2", "fma")),
    Unit("neon", "NEON", _ARM, ("asimd",)),
)
"""All units, the fastest first."""


def unit_named(name: str) -> Unit:
    """The unit of that name; UnknownNameError if there is none."""
    found = [unit for unit in UNITS if unit.name == name]
    if not found:
        raise UnknownNameError("unit in GRASP_KERNEL", name, (*(unit.name for unit in UNITS), TORCH))
    return found[0]


def usable_units(variables: Mapping[str, str] = os.environ) -> list[Unit] | str:
    """Units that this processor has, the fastest first, or a sentence that says why there are none.

    Raises UnknownNameError if `SWITCH` names none.
    """
    wanted = variables.get(SWITCH, "")
    if wanted == TORCH:
        return f"{SWITCH}={TORCH} turns it off."
    machine, has = platform.machine().lower(), processor()
    units = [unit for unit in ([unit_named(wanted)] if wanted else UNITS) if machine in unit.machines]
    if not units:
        return f"none is written for {wanted or 'any unit'} of {machine} processors."
    usable = [unit for unit in units if has.issuperset(unit.extensions)]
    lacking = ", ".join(name for name in units[-1].extensions if name not in has)
    return usable or f"the processor lacks {lacking}, or the system does not list its extensions."


def processor() -> frozenset[str]:
    """The processor's extensions, by their names in Linux; empty if the system does not say."""
    system = platform.system()
    if system == "Darwin":
        return mac_extensions(_sysctl("machdep.cpu.features"), _sysctl("machdep.cpu.leaf7_features"), platform.machine())
    try:
        return linux_extensions(Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        return frozenset()


def linux_extensions(cpuinfo: str) -> frozenset[str]:
    """The extensions of the first processor in the text of `/proc/cpuinfo`."""
    for line in cpuinfo.splitlines():
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(values.split())
    return frozenset()


def mac_extensions(features: str, more: str, machine: str) -> frozenset[str]:
    """The same from macOS's lists of features; every arm64 processor has NEON."""
    names = {name.lower() for name in (*features.split(), *more.split())}
    return frozenset(names | ({"asimd"} if machine == "arm64" else set()))


def _sysctl(name: str) -> str:
    try:
        done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _flag(extension: str) -> str:
    return f"-m{extension.replace('avx512_', 'avx512').replace('_', '-')}"
