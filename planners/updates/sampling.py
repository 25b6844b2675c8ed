"""Code that the sampling planners share: plans drawn around a mean, their rolled-out costs, elites."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from planners.classes import Classes
from planners.objectives import sampled_costs
from planners.search.search_run import Rows, Run
from planners.settings import Number, any_positive, per_row


def coloured(
    white: Float[Tensor, "batch samples time action"], exponent: Float[Tensor, "batch 1 1 1"] | float
) -> Float[Tensor, "batch samples time action"]:
    """Coloured noise of variance 1 from white noise: its power falls with frequency as f^-exponent (Timmer and Koenig 1995).

    Exponent 0 is white noise, 2 a random walk: neighbouring actions become similar, so that plans make headway.
    """
    time = white.shape[2]
    if time == 1:
        return white
    spectrum = torch.fft.rfft(white, dim=2, norm="ortho")
    # The constant part has frequency 0, whose power is infinite: it counts as the slowest other one.
    frequency = torch.fft.rfftfreq(time, device=white.device, dtype=white.dtype).clamp_min(1 / time).view(1, 1, -1, 1)
    gain = frequency ** (-exponent / 2)
    # Power of a real signal: all parts except the constant and (for even lengths) the last one stand for two frequencies.
    twice = torch.full_like(frequency, 2.0)
    twice[:, :, 0] = 1
    if time % 2 == 0:
        twice[:, :, -1] = 1
    power = (gain.square() * twice).sum(2, keepdim=True) / time
    return torch.fft.irfft(spectrum * gain / power.sqrt(), n=time, dim=2, norm="ortho")


def drawn(
    mean: Float[Tensor, "batch time action"],
    std: Float[Tensor, "batch time action"],
    white: Float[Tensor, "batch samples time action"],
    noise_exponent: Number = 0.0,
    classes: Classes | None = None,
    uniform: Number = 0.0,
) -> Float[Tensor, "batch samples time action"]:
    """Plans mean + std * noise, where the noise is `white` coloured by each row's `noise_exponent`.

    Where actions are `classes`, `mean` holds their shares, by which they are drawn; `uniform` of them are spread over all.
    """
    noise = coloured(white, per_row(noise_exponent, white)) if any_positive(noise_exponent) else white
    if classes is not None:
        return classes.drawn(mean, noise, uniform)
    return torch.addcmul(mean.unsqueeze(1), noise, std.unsqueeze(1))


def middle(run: Run, mean: Float[Tensor, "batch time action"]) -> Float[Tensor, "batch time action"]:
    """The plan in the middle of a distribution: its mean; where actions are classes, the likeliest of them."""
    return mean if run.classes is None else run.classes.likeliest(mean)


def first_mean(run: Run, std: Number) -> Float[Tensor, "batch time action"]:
    """The mean that sampling begins with: the start's actions; where they are classes, shares that lean towards them."""
    actions = run.start.actions
    return actions.clone() if run.classes is None else run.classes.softened(actions, std)


def evaluate_plans(
    run: Run, plans: Float[Tensor, "batch samples time action"], rows: Rows | None = None
) -> Float[Tensor, "batch samples"]:
    """Rolled-out costs of plans, infinite if not finite. The run records each row's best plan.

    Plans are clamped, and where actions are classes they are rounded, in place.
    """
    run.project(plans)
    if run.classes is not None:
        plans.copy_(run.rounded(plans))
    problems = run.problems if rows is None else run.problems.rows(rows.to(plans.device))
    cost = sampled_costs(run.model, problems, plans)
    run.spend(plans.shape[1] * problems.steps, rows)
    ranked = torch.where(torch.isfinite(cost), cost, torch.inf)
    best = ranked.argmin(1)
    run.record_rounded(plans[torch.arange(len(best), device=best.device), best], ranked.amin(1), rows)
    return ranked


def elites_of(
    plans: Float[Tensor, "batch samples time action"], cost: Float[Tensor, "batch samples"], count: int
) -> Float[Tensor, "batch elites time action"]:
    """The plans with the lowest costs, best first."""
    return ranked_elites(plans, cost, count)[0]


def ranked_elites(
    plans: Float[Tensor, "batch samples time action"], cost: Float[Tensor, "batch samples"], count: int
) -> tuple[Float[Tensor, "batch elites time action"], Float[Tensor, "batch elites"]]:
    """The plans with the lowest costs and these costs, best first."""
    lowest = cost.topk(count, dim=1, largest=False, sorted=True)
    return plans.take_along_dim(lowest.indices[:, :, None, None], 1), lowest.values
