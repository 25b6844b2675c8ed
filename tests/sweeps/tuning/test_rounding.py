"""Rounded settings: digits, bounds, and when they succeed alike."""

import pytest

from orchestrator.tuning.search_space import Options, Range, Space
from sweeps.analysis.intervals import Paired, Rate
from sweeps.tuning.rounding import rounded_settings
from sweeps.tuning.verdict import Judged, Rounded

SPACE = Space(
    (
        Range("lr", 0.0012345, 1.0, log=True),
        Range("noise", 0.0, 0.99987),
        Range("narrow", 0.12341, 0.12342),
        Range("iterations", 10.0, 100_000.0, whole=True),
        Options("weight", (0.12345, 0.5)),
        Options("sync", ("gd", "auto")),
    )
)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("lr", 0.11626261251433483, 0.116),
        ("lr", 0.0070350710516568155, 0.00704),
        ("lr", 0.05, 0.05),
        ("lr", 0.0012345, 0.00124),  # the nearest, 0.00123, lies below the range
        ("noise", 0.99986, 0.999),  # the nearest, 1, lies above it
        ("noise", 0.0, 0.0),
        ("narrow", 0.123415, 0.123415),  # no number of three digits lies in the range
        ("iterations", 12_345, 12_345),
        ("weight", 0.12345, 0.12345),
        ("sync", "auto", "auto"),
    ],
)
def test_a_setting_is_the_nearest_of_three_digits_in_its_range(name, value, expected):
    (found,) = rounded_settings(SPACE, {name: value}, 3).values()
    assert found == expected
    assert type(found) is type(value)


def test_no_setting_leaves_its_range_or_moves_by_more_than_half_a_percent():
    space = Space((Range("x", 0.0, 1.0),))
    for value in (k / 977 for k in range(978)):
        found = rounded_settings(space, {"x": value}, 3)["x"]
        assert isinstance(found, float)
        assert 0 <= found <= 1
        assert abs(found - value) <= 0.005 * value
        assert found == float(f"{found:.3g}")


@pytest.mark.parametrize(
    ("pairs", "gained", "lost", "alike"),
    [
        (64, 0, 0, True),
        (64, 20, 0, True),  # better is as good as alike
        (64, 0, 3, True),  # 0.047 less
        (64, 0, 4, False),  # 0.063 less: too much, however unsure
        (400, 0, 6, False),  # 0.015 less, and surely so (p 0.03)
        (400, 1, 6, True),  # p 0.13
    ],
)
def test_rounded_settings_succeed_alike_within_the_margin_and_without_significance(pairs, gained, lost, alike):
    held_out = Judged(Rate(0, pairs), {})
    assert Rounded(3, {}, held_out, Paired(pairs, gained, lost)).alike is alike
