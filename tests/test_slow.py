"""The list of slow tests names files and folders that exist."""

from pathlib import Path

from tests.slow_tests import SLOW, is_slow

ROOT = Path(__file__).resolve().parents[1]


def test_slow_tests_are_there() -> None:
    assert [path for path in SLOW if not (ROOT / path).exists()] == []


def test_a_folder_stands_for_all_that_is_in_it() -> None:
    assert is_slow("tests/end_to_end/test_cli.py")
    assert not is_slow("tests/sweeps/apis/test_one.py")
