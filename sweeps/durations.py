"""Durations in words."""

from __future__ import annotations

from orchestrator.scheduling.durations import Estimate


def duration(seconds: float) -> str:
    """`45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def roughly(estimate: Estimate) -> str:
    """`12 min 5 s (8 min 2 s to 19 min 0 s)`; without the interval where it would say nothing."""
    middle, low, high = (duration(value) for value in (estimate.seconds, estimate.low, estimate.high))
    return middle if low == high else f"{middle} ({low} to {high})"
