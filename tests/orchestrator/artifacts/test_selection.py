"""The selection of drawn cells depends on their results and on nothing else."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.artifacts.selection import REASONS, ArtifactSelection, Scored, SelectedCell, select_cells
from world_models.errors import UserError

CELLS = st.lists(
    st.builds(Scored, st.integers(0, 50), st.one_of(st.floats(0, 10), st.just(math.nan)), st.booleans()),
    unique_by=lambda cell: cell.seed,
)


@given(CELLS, st.randoms(use_true_random=False), st.sets(st.sampled_from(REASONS)))
def test_order_does_not_matter_and_each_cell_is_selected_once(cells: list[Scored], random, reasons: set[str]) -> None:
    selected = select_cells(cells, reasons)
    shuffled = list(cells)
    random.shuffle(shuffled)
    assert select_cells(shuffled, sorted(reasons)) == selected
    assert [selection.seed for selection in selected] == sorted({choice.seed for choice in selected})
    given_reasons = [reason for choice in selected for reason in choice.reasons]
    assert len(given_reasons) == len(set(given_reasons))
    missed = [cell for cell in cells if not cell.success]
    due = {reason for reason in reasons if cells and (reason != "first_failure" or missed)}
    assert set(given_reasons) == due


@given(CELLS.filter(bool))
def test_reasons_mean_what_they_say(cells: list[Scored]) -> None:
    by_seed = {cell.seed: cell for cell in cells}
    found = {reason: by_seed[selection.seed] for selection in select_cells(cells) for reason in selection.reasons}
    far = [math.inf if math.isnan(cell.distance) else cell.distance for cell in cells]

    def distance(reason: str) -> float:
        return math.inf if math.isnan(found[reason].distance) else found[reason].distance

    assert (distance("best"), distance("worst")) == (min(far), max(far))
    assert distance("median") == sorted(far)[(len(far) - 1) // 2]
    missed = [cell.seed for cell in cells if not cell.success]
    assert ("first_failure" in found) == bool(missed)
    if missed:
        assert found["first_failure"].seed == min(missed)


def test_one_cell_all_cells_and_none() -> None:
    hit, miss = Scored(4, 0.1, True), Scored(7, 3.0, False)
    assert select_cells([hit]) == (SelectedCell(4, ("best", "median", "worst")),)
    assert select_cells([miss]) == (SelectedCell(7, ("best", "median", "worst", "first_failure")),)
    assert select_cells([]) == select_cells([hit], ()) == ()
    middle = Scored(5, 0.2, True)
    everything = select_cells([miss, middle, hit, Scored(6, 0.3, True)], ("all",))
    assert [selection.title for selection in everything] == ["best_seed4", "median_seed5", "seed6", "worst_first_failure_seed7"]


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        (("bets",), "unknown value of artifacts.cells 'bets': did you mean 'best'"),
        (("best", "best"), "names 'best' twice"),
        (("all", "best"), "'all' means every cell"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(reasons: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError) as error:
        ArtifactSelection(reasons)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
