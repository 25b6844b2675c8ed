"""A study, its storages, and its trials when drivers die, storages are unavailable or several drivers share it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.services import PostgreSQL, postgresql_programs
from orchestrator.ledger.ledger import Ledger
from orchestrator.tuning.objectives import Bound, objective
from orchestrator.tuning.optuna_storage import masked_location, open_storage
from orchestrator.tuning.pruning import Pruning
from orchestrator.tuning.samplers import Sampling
from orchestrator.tuning.trials import State
from tests.support.studies import at_random, definition, open_study, run_study, unpruned
from world_models.errors import UnknownNameError, UserError

needs_postgresql = pytest.mark.skipif(postgresql_programs() is None, reason="needs PostgreSQL: apt-get install postgresql")


def states(study) -> Counter:
    return Counter(view.state for view in study.views())


def test_a_study_is_opened_again_with_its_trials(tmp_path):
    study = open_study(tmp_path / "journal")
    assert study.is_new
    trial = study.ask(3)
    assert trial is not None
    trial.report({0: 0.5, 1: 0.25})
    trial.finish([0.375], {})
    again = open_study(tmp_path / "journal")
    assert not again.is_new
    (view,) = again.views()
    assert (view.state, view.values, view.settings) == (State.COMPLETE, (0.375,), trial.settings)
    assert view.steps == {0: 0.5, 1: 0.25}


@pytest.mark.parametrize("spoilt", ["text", 1, [1]])
def test_a_study_whose_definition_is_spoilt_is_refused(tmp_path, spoilt):
    open_study(tmp_path / "journal")._study.set_user_attr("definition", spoilt)
    with pytest.raises(UserError, match="as its definition: choose another name="):
        open_study(tmp_path / "journal")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            definition(lr={"low": 0.01, "high": 1.0, "log": True}),
            "another space.lr (0.001 to 1, log scale, now 0.01 to 1, log scale)",
        ),
        (definition(init_noise={"low": 0.0, "high": 1.0}), "another space.init_noise (none, now 0 to 1)"),
        (definition(objectives=("success",)), "another objectives (cost, now success)"),
        (definition(bounds=(Bound(objective("seconds"), 1.0),)), "another constraints (none, now seconds <= 1)"),
    ],
)
def test_a_study_whose_definition_changed_is_refused(tmp_path, changed, words):
    open_study(tmp_path / "journal")
    with pytest.raises(UserError) as error:
        open_study(tmp_path / "journal", definition=changed)
    assert words in str(error.value)
    assert "choose another name=" in str(error.value)


def test_a_dead_drivers_trials_are_resumed_and_others_left_alone(tmp_path):
    mine, other = open_study(tmp_path / "journal"), open_study(tmp_path / "journal", owner="other")
    asked, foreign = mine.ask(9), other.ask(9)
    assert asked is not None
    assert foreign is not None
    asked.report({0: 0.5})
    (resumed,) = open_study(tmp_path / "journal").resume()
    assert (resumed.number, resumed.settings, resumed.reported) == (asked.number, asked.settings, {0})
    resumed.report({0: 0.5, 1: 0.7})
    resumed.finish([0.6], {"seconds <= 1": 0.5})
    foreign.finish([0.2], {})
    views = mine.views()
    assert [view.state for view in views] == [State.COMPLETE] * 2
    assert [view.feasible for view in views] == [False, True]


def test_trials_of_a_driver_that_died_while_creating_them_do_not_count(tmp_path):
    study = open_study(tmp_path / "journal")
    study.optuna.ask()
    assert open_study(tmp_path / "journal").resume() == []
    assert states(study) == {State.FAILED: 1}
    run_study(open_study(tmp_path / "journal"), Ledger(tmp_path / "ledger"), total=3)
    assert states(study) == {State.FAILED: 1, State.COMPLETE: 3} or states(study)[State.FAILED] == 1
    assert study.finished() == 3


def test_trials_are_taken_over_only_on_request(tmp_path):
    other = open_study(tmp_path / "journal", owner="other")
    assert other.ask(9) is not None
    mine = open_study(tmp_path / "journal")
    assert mine.adopt_running(False) == 0
    assert mine.resume() == []
    assert mine.adopt_running(True) == 1
    assert len(mine.resume()) == 1


def test_a_partial_line_is_cut_off(tmp_path):
    journal = tmp_path / "journal"
    study = open_study(journal)
    trial = study.ask(2)
    assert trial is not None
    with journal.open("ab") as stream:
        stream.write(b'{"op_code": 5, "half a li')
    trial.finish([0.5], {})
    assert states(open_study(journal)) == {State.COMPLETE: 1}
    assert all(line.startswith(b"{") and line.endswith(b"}") for line in journal.read_bytes().splitlines())


def test_a_lock_dies_with_its_holder(tmp_path):
    journal = tmp_path / "journal"
    open_study(journal)
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from orchestrator.tuning.optuna_storage import JournalLock
        lock = JournalLock(Path({str(journal)!r}))
        lock.acquire()
        print("held", flush=True)
        input()
        """
    )
    root = Path(__file__).parents[3]
    holder = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    asked = threading.Thread(target=lambda: open_study(journal).ask(5), daemon=True)
    asked.start()
    asked.join(1.0)
    assert asked.is_alive(), "the lock holds nobody back"
    holder.send_signal(signal.SIGKILL)
    asked.join(20.0)
    assert not asked.is_alive()
    holder.wait()
    holder.stdout.close()
    assert holder.stdin is not None
    holder.stdin.close()


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("mysql://me@host/db", "neither a file nor postgresql://"),
        ("postgresql://me:secret@127.0.0.1:1/db", "cannot be used"),
    ],
)
def test_storages_that_cannot_be_used_are_refused_without_their_secrets(location, words):
    with pytest.raises(UserError) as error:
        open_study(location)
    assert words in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
    assert "secret" not in masked_location(location)


def test_a_file_that_is_not_a_journal_is_refused(tmp_path):
    journal = tmp_path / "journal"
    journal.write_text("good morning\n{}\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"line 1.* is not a line of Optuna's journal"):
        open_storage(journal)
    with pytest.raises(UserError, match="cannot be written"):
        open_storage(Path("/proc/nowhere/journal"))


def test_an_unknown_sampler_and_a_sampler_for_one_objective(tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'random'"):
        open_study(tmp_path / "a", sampling=Sampling("randon"))
    with pytest.raises(UserError, match="takes one objective, not 2"):
        open_study(tmp_path / "b", sampling=Sampling("cmaes"), definition=definition(objectives=("success", "seconds")))


def test_trials_of_another_study_are_found_by_name(tmp_path):
    first = open_study(tmp_path / "journal", definition=definition("first"))
    run_study(first, Ledger(tmp_path / "ledger"), total=3)
    second = open_study(tmp_path / "journal", definition=definition("second"))
    assert [view.number for view in second.trials_of("first")] == [0, 1, 2]
    with pytest.raises(UnknownNameError, match="did you mean 'first'"):
        second.trials_of("firts")


def test_known_settings_come_first_and_what_they_leave_out_is_suggested(tmp_path):
    study = open_study(tmp_path / "journal")
    assert study.needs_first_trials
    study.enqueue({"lr": 0.25}, "mine")
    study.enqueue({"lr": 0.25}, "mine again")
    study.mark_first_trials_queued()
    assert not open_study(tmp_path / "journal").needs_first_trials
    trial = study.ask(2)
    assert trial is not None
    assert trial.settings["lr"] == 0.25
    assert trial.is_start
    other = study.ask(2)
    assert other is not None
    assert not other.is_start, "the same start was given twice"


def test_drivers_with_the_same_seed_suggest_different_trials(tmp_path):
    mine = open_study(tmp_path / "journal", sampling=at_random(4))
    other = open_study(tmp_path / "journal", owner="other", sampling=at_random(4))
    trials = [mine.ask(9), other.ask(9), mine.ask(9), other.ask(9)]
    assert len({trial.settings["lr"] for trial in trials if trial is not None}) == 4


@pytest.fixture(scope="module")
def database():
    with PostgreSQL() as server:
        yield server


@needs_postgresql
@pytest.mark.timeout(300)
def test_two_drivers_share_a_study_in_postgresql(tmp_path, database):
    described = definition("shared")
    done: list[tuple[object, object]] = []

    def drive(owner: str) -> None:
        study = open_study(database.uri, owner=owner, definition=described, pruning=Pruning(warm_up=6), sampling=at_random(2))
        done.append(run_study(study, Ledger(tmp_path / owner), total=80, parallel=6, chunk=6))

    drivers = [threading.Thread(target=drive, args=(owner,)) for owner in ("one", "two")]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join()
    assert len(done) == 2
    views = open_study(database.uri, owner="three", definition=described).views()
    ended = [view for view in views if view.state in (State.COMPLETE, State.PRUNED)]
    assert len(ended) == 80
    assert {view.state for view in views} <= {State.COMPLETE, State.PRUNED, State.FAILED}
    assert len({tuple(sorted(view.settings.items())) for view in ended}) == 80
    by_owner = Counter(view.owner for view in ended)
    assert by_owner.keys() == {"one", "two"}
    assert min(by_owner.values()) >= 10


@needs_postgresql
@pytest.mark.timeout(300)
def test_a_study_waits_for_a_database_that_went_away(tmp_path, database):
    words: list[str] = []
    back = threading.Event()

    def bring_back() -> None:
        database.start()
        back.set()

    def on_away(said: str) -> None:
        words.append(said)
        threading.Thread(target=bring_back).start()

    study = open_study(database.uri, definition=definition("away"), pruning=unpruned(), on_unavailable=on_away)
    batches = 0

    def on_batch(result: object) -> None:
        nonlocal batches
        batches += 1
        if batches == 3:
            database.kill()

    run_study(study, Ledger(tmp_path / "ledger"), total=12, on_batch=on_batch)
    assert back.wait(60)
    assert len(words) == 1
    assert "is unavailable" in words[0]
    assert database.password not in words[0]
    assert states(study) == {State.COMPLETE: 12}


@needs_postgresql
@pytest.mark.timeout(300)
def test_a_study_that_is_stopped_while_its_database_is_down_ends_in_one_sentence(tmp_path):
    with PostgreSQL() as server:
        stop = threading.Event()
        study = open_study(server.uri, stop=stop, on_unavailable=lambda said: stop.set())
        ledger = Ledger(tmp_path / "ledger")
        with pytest.raises(UserError, match="was stopped: finished cells are in the ledger"):
            run_study(study, ledger, total=12, on_batch=lambda result: server.kill(), stop=stop)
        planned = ledger.table(columns=["cell_id"]).num_rows
        assert planned > 0
        server.start()
        again = open_study(server.uri)
        run_study(again, ledger, total=12)
        assert again.finished() == 12
        assert State.RUNNING not in states(again)
