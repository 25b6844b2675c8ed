"""The benchmark of reviewing, on a small sweep."""

import json

import pytest

from benchmarks.review import main


@pytest.mark.timeout(900)
def test_the_review_benchmark_measures_all_it_promises(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--points", "20", "--seeds", "3", "--planned-seeds", "1"])
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(said) == {"log_s", "search_runs_s", "report_s", "artifact_share", "points", "seeds"}
    assert all(said[key] > 0 for key in ("log_s", "search_runs_s", "report_s", "artifact_share"))
    assert (said["points"], said["seeds"]) == (20, 3)


def test_its_help_says_what_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "artifact_share" in capsys.readouterr().out
