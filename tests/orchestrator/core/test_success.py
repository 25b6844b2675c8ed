"""Success rules: each against its definition, step by step, and nonsense is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.modes import ExecutionMode
from orchestrator.core.success import SuccessRule, check_rule
from world_models.errors import UserError


def by_definition(rule: str, reached: list[bool], mode: str) -> bool:
    horizon = len(reached) - 1
    if rule == "final":
        return reached[-1]
    if rule == "first_hit":
        return any(reached[1:])
    if rule == "replans":
        every = ExecutionMode.of(mode).every or horizon
        return any(reached[step] for step in range(1, horizon + 1) if step % every == 0 or step == horizon)
    steps = int(rule.removeprefix("hold:"))
    return any(all(reached[first : first + steps]) for first in range(1, horizon - steps + 2))


@given(
    st.lists(st.lists(st.booleans(), min_size=9, max_size=9), min_size=1, max_size=5),
    st.sampled_from(["final", "first_hit", "replans", "hold:1", "hold:2", "hold:5", "hold:8"]),
    st.sampled_from(["open_loop", "mpc:2", "mpc:3", "mpc:3:9", "mpc:8"]),
)
def test_rules_are_what_their_names_say(reached: list[list[bool]], rule: str, mode: str) -> None:
    found = SuccessRule.of(rule).succeeded(np.array(reached), ExecutionMode.of(mode))
    assert found.tolist() == [by_definition(rule, row, mode) for row in reached]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("first", "unknown success rule 'first': did you mean 'first_hit'?"),
        ("final:3", "unknown success rule 'final:3'"),
        ("hold", "success rule 'hold' does not say for how many steps the goal must be held: give e.g. hold:3."),
        ("hold:0", "success rule 'hold:0' does not say"),
        ("hold:03", "success rule 'hold:03' does not say"),
        ("hold:9", "success rule 'hold:9' asks for 9 steps in a row, and the horizon is 8: choose 8 or less."),
    ],
)
def test_rules_that_make_no_sense_are_refused_in_one_sentence(rule: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        check_rule(rule, 8)
    assert said in str(caught.value)
