"""A task of an agent of many tasks plans as the agent does with that task's embedding and padding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.world_models.adapters.foreign import stored, tdmpc2_state
from tests.world_models.adapters.test_tdmpc2 import written_out
from world_models.adapters import kinds
from world_models.adapters.base import Given
from world_models.adapters.tdmpc2.multitask import ACTIONS, TASKS
from world_models.errors import UnknownNameError, UserError
from world_models.tasks import make_task

EMBEDDING, OBSERVATION, ACTION = 6, 9, 5
NAME = "cup-catch"


def saved(folder: Path, masks: bool = True) -> tuple[Path, dict[str, Tensor]]:
    """An agent of the 30 published tasks; observations and actions are padded to 9 and 5 numbers."""
    state = tdmpc2_state(OBSERVATION + EMBEDDING, EMBEDDING + ACTION, latent=32, hidden=24, encoder=16)
    state["_task_emb.weight"] = torch.randn(30, EMBEDDING, generator=torch.Generator().manual_seed(4))
    if masks:
        state["_action_masks"] = torch.ones(30, ACTION)
        state["_action_masks"][TASKS[30].index(NAME), 2:] = 0
    torch.save({"model": state}, folder / "mt30.pt")
    return folder / "mt30.pt", state


def test_the_published_sets_have_their_numbers_of_tasks() -> None:
    assert {len(names) == number for number, names in TASKS.items()} == {True}
    assert len(set(TASKS[80])) == 80
    assert TASKS[80][:30] == TASKS[30]
    assert all(any(name.startswith(start) for start in ACTIONS) for name in TASKS[80])


@pytest.mark.parametrize("masks", [True, False])
def test_one_task_predicts_as_the_agent_does(tmp_path: Path, masks: bool) -> None:
    path, state = saved(tmp_path, masks)
    found = kinds.recognise(path, Given(environment=NAME))
    assert (found.sizes["tasks"], found.action_size, found.observation_dim) == (30, 2, OBSERVATION)
    # A point with two coordinates and two actions takes the place of the task: sizes are all that counts here.
    task = make_task("wall")
    model = stored(kinds.adapter("tdmpc2").convert(found, task), task, tmp_path / "m").model
    embedding = F.embedding(torch.tensor(TASKS[30].index(NAME)), state["_task_emb.weight"], max_norm=1.0)
    observation, action = torch.randn(3, 2), torch.rand(3, 1, 2) * 2 - 1
    padded = torch.cat([observation, torch.zeros(3, OBSERVATION - 2), embedding.expand(3, -1)], 1)
    latent = written_out(state, "_encoder.state.", padded)
    torch.testing.assert_close(model.encode(observation), latent, atol=1e-5, rtol=0)
    whole = torch.cat([latent, embedding.expand(3, -1), action[:, 0], torch.zeros(3, ACTION - 2)], 1)
    torch.testing.assert_close(model.step(latent[:, None], action), written_out(state, "_dynamics.", whole), atol=1e-5, rtol=0)


def test_the_task_is_asked_for_and_must_be_in_the_set(tmp_path: Path) -> None:
    path, _ = saved(tmp_path)
    found = kinds.recognise(path)
    assert found.asks_environment
    with pytest.raises(UserError, match="give --trained-on"):
        kinds.convert(found, make_task("wall"))
    with pytest.raises(UnknownNameError, match="cup-catch"):
        kinds.recognise(path, Given(environment="cup-ctch"))
    with pytest.raises(UserError, match="was trained on cup-catch, not on wall"):
        kinds.convert(kinds.recognise(path, Given(environment=NAME)), make_task("wall"))


def test_observations_that_are_too_long_and_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path, state = saved(tmp_path)
    found = kinds.recognise(path, Given(environment=NAME))
    with pytest.raises(UserError, match="at most 9 features, and this task has 10"):
        kinds.adapter("tdmpc2").convert(found, make_task("push_t"))
    torch.save({"model": {**state, "_action_masks": torch.ones(29, 5)}}, path)
    with pytest.raises(UserError, match="do not fit its 30 tasks"):
        kinds.recognise(path)
