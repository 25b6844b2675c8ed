"""Task wall: the wall is passed only through the door, contact slides, ways are shortest, kinds differ as defined."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from world_models.errors import UserError
from world_models.tasks import make_task
from world_models.tasks.base import Problem, execute
from world_models.tasks.geometry import first_contact, path_length, slide, walk
from world_models.tasks.wall import SUCCESS, Wall
from world_models.tasks.wall_arena import (
    DOOR_HIGH,
    DOOR_LOW,
    HIGH,
    LONG_WAY,
    LOW,
    SOLIDS,
    WALL_LEFT,
    WALL_RIGHT,
    advance,
    free_points,
    geodesics,
    inside_wall,
)

EPS = 1e-9
GOLDEN_START, GOLDEN_GOAL = [57.52427506230059, 19.36343379229693], [57.45970121619389, 57.3743725831726]
"""Start and goal of seed 0, kind free, horizon 50, speed 1."""
EDGES = [LOW, HIGH, WALL_LEFT, WALL_RIGHT, DOOR_LOW, DOOR_HIGH, 32.0, 10.0]
coordinate = st.one_of(st.sampled_from(EDGES), st.floats(LOW, HIGH))
action = st.one_of(st.sampled_from([-1.0, 0.0, 1.0]), st.floats(-1.0, 1.0))
push = st.tuples(action, action)
speeds = st.one_of(st.floats(0.05, 6.0), st.sampled_from([0.5, 1.0, 6.0, 40.0, 500.0]))


@st.composite
def free_starts(draw: st.DrawFn) -> tuple[float, float]:
    point = draw(st.tuples(coordinate, coordinate))
    assume(not inside_wall(np.array([point])).any())
    return point


def walked(start: tuple[float, float], actions: list[tuple[float, float]], speed: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions and intended motions."""
    plan = np.array(actions).reshape(1, -1, 2)
    return Wall(speed=speed).simulate(np.array([start]), plan)[0], speed * plan[0]


def crossing_height(begin: np.ndarray, motion: np.ndarray, x: float) -> float:
    """Point where the intended straight motion meets a vertical line."""
    return begin[1] + (motion[1] * (x - begin[0]) / motion[0] if begin[0] != x else 0.0)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(free_starts(), st.lists(push, min_size=1, max_size=12), speeds)
def test_never_inside_the_wall_and_across_it_only_through_the_door(
    start: tuple[float, float], actions: list[tuple[float, float]], speed: float
) -> None:
    positions, motions = walked(start, actions, speed)
    assert not inside_wall(positions).any()
    assert (positions >= LOW).all()
    assert (positions <= HIGH).all()
    for begin, end, motion in zip(positions[:-1], positions[1:], motions, strict=True):
        enters_from_left = begin[0] <= WALL_LEFT < end[0]
        enters_from_right = begin[0] >= WALL_RIGHT > end[0]
        if enters_from_left or enters_from_right:
            height = crossing_height(begin, motion, WALL_LEFT if enters_from_left else WALL_RIGHT)
            assert DOOR_LOW - 1e-6 <= height <= DOOR_HIGH + 1e-6


@settings(max_examples=300, deadline=None, derandomize=True)
@given(free_starts(), push, speeds)
def test_contact_takes_the_normal_part_only(start: tuple[float, float], action: tuple[float, float], speed: float) -> None:
    positions, motions = walked(start, [action], speed)
    moved, wanted = positions[1], np.clip(positions[0] + motions[0], LOW, HIGH)
    lost = np.flatnonzero(moved != wanted)
    assert len(lost) <= 1, "one direction is always free"
    if len(lost):
        faces = (WALL_LEFT, WALL_RIGHT) if lost[0] == 0 else (DOOR_LOW, DOOR_HIGH)
        assert moved[lost[0]] in faces


@settings(max_examples=200, deadline=None, derandomize=True)
@given(free_starts(), push, st.floats(0.05, 6.0))
def test_contact_is_where_small_steps_find_it(start: tuple[float, float], action: tuple[float, float], speed: float) -> None:
    """Against an independent oracle: a straight march that notes the first solid point."""
    positions, motions = walked(start, [action], speed)
    along = np.linspace(0.0, 1.0, 4001)[:, None]
    marched = positions[0] + along * motions[0]
    x, y = marched.T
    # Grazing a corner by less than the march resolves is decided by rounding: leave it out.
    corners = np.array([(cx, cy) for cx in (WALL_LEFT, WALL_RIGHT) for cy in (DOOR_LOW, DOOR_HIGH)])
    assume(np.abs(marched[:, None] - corners).max(2).min() > 0.01)
    solid = (x > WALL_LEFT + EPS) & (x < WALL_RIGHT - EPS) & ((y < DOOR_LOW - EPS) | (y > DOOR_HIGH + EPS))
    blocked = (positions[1] != np.clip(positions[0] + motions[0], LOW, HIGH)).any()
    if solid.any():
        first = marched[int(solid.argmax())]
        through_side = DOOR_LOW < marched[max(int(solid.argmax()) - 1, 0)][1] < DOOR_HIGH
        expected = np.clip(positions[0] + motions[0], LOW, HIGH)
        if through_side and WALL_LEFT + 0.02 < first[0] < WALL_RIGHT - 0.02:
            expected[1] = DOOR_LOW if motions[0][1] < 0 else DOOR_HIGH
        else:
            expected[0] = WALL_LEFT if motions[0][0] > 0 else WALL_RIGHT
        if abs(first[0] - WALL_LEFT) > 0.02 and abs(first[0] - WALL_RIGHT) > 0.02 and not through_side:
            return  # began on a door edge: either reading of the face is fine
        assert np.allclose(positions[1], expected, atol=1e-9)
    else:
        assert not blocked


@pytest.mark.parametrize("speed", [0.3, 1.0, 6.0])
def test_a_thousand_pushes_do_not_get_through(speed: float) -> None:
    rng = np.random.default_rng(0)
    count = 1000
    starts = np.stack([np.where(np.arange(count) % 2, WALL_LEFT, WALL_RIGHT), rng.uniform(DOOR_HIGH + 8.0, HIGH, count)], 1)
    toward = np.where(np.arange(count) % 2, 1.0, -1.0)
    actions = np.stack([np.broadcast_to(toward[:, None], (count, 40)), rng.uniform(-0.2, 1.0, (count, 40))], 2)
    end = Wall(speed=speed).simulate(starts, actions * np.array([1.0, 0.5]))[:, -1]
    stayed = np.where(toward > 0, end[:, 0] <= WALL_LEFT, end[:, 0] >= WALL_RIGHT)
    assert stayed[end[:, 1] > DOOR_HIGH].all()
    assert stayed.mean() > 0.9


def test_sliding_along_the_face_and_out_through_the_door() -> None:
    start = np.array([[WALL_LEFT, 20.0]])
    upward = np.tile([1.0, -1.0], (1, 8, 1))
    path = Wall(speed=1.0).simulate(start, upward)[0]
    assert np.array_equal(path[:7], [[WALL_LEFT, 20.0 - t] for t in range(7)])  # y = 14 is the corner: still on the face
    assert np.array_equal(path[7:], [[WALL_LEFT + 1, 13.0], [WALL_LEFT + 2, 12.0]])


def test_first_contact_with_a_box() -> None:
    points = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 2.0], [0.0, 3.0], [2.0, 0.0]])
    motions = np.array([[4.0, 4.0], [0.5, 0.5], [4.0, 0.0], [4.0, 0.0], [0.0, 9.0]])
    hit, fraction, by_x = first_contact(points, motions, (1.0, 1.0, 3.0, 3.0))
    assert hit.tolist() == [True, False, True, False, True]  # the fourth runs along a face
    assert fraction[hit].tolist() == [0.25, 0.25, pytest.approx(1 / 9)]
    assert by_x[[2, 4]].tolist() == [True, False]
    assert slide(points[2:3], motions[2:3], ((1.0, 1.0, 3.0, 3.0),)).tolist() == [[1.0, 2.0]]


def test_walk_lands_on_corners_in_even_steps() -> None:
    path = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 5.0], [10.0, 5.0]])
    steps = walk(path, 20, 1.0)
    positions = np.concatenate([path[:1], path[:1] + steps.cumsum(0)])
    sizes = np.hypot(*steps.T)
    assert np.allclose(positions[-1], path[-1])
    assert np.isclose(positions, [10.0, 0.0]).all(1).any()
    assert sizes.max() <= 1.0 + EPS
    assert sizes.max() / sizes.min() < 1.2
    with pytest.raises(ValueError, match="more than 14 steps"):
        walk(path, 14, 1.0)


def test_geodesics_agree_with_dijkstra_on_a_fine_grid() -> None:
    axis = np.arange(LOW, HIGH + 1)
    nodes = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    side = len(axis)
    number = np.arange(len(nodes)).reshape(side, side)
    rows, columns, lengths = [], [], []
    steps = [(a, b) for a in range(-3, 4) for b in range(-3, 4) if np.gcd(a, b) == 1]
    for a, b in steps:
        from_ = number[max(0, -a) : side - max(0, a), max(0, -b) : side - max(0, b)].ravel()
        to = number[max(0, a) : side - max(0, -a), max(0, b) : side - max(0, -b)].ravel()
        ok = ~(inside_wall(nodes[from_]) | inside_wall(nodes[to]))
        for box in SOLIDS:
            ok &= ~first_contact(nodes[from_], nodes[to] - nodes[from_], box)[0]
        rows.append(from_[ok])
        columns.append(to[ok])
        lengths.append(np.full(int(ok.sum()), np.hypot(a, b)))
    graph = coo_matrix((np.concatenate(lengths), (np.concatenate(rows), np.concatenate(columns))), (len(nodes),) * 2).tocsr()
    rng = np.random.default_rng(0)
    free = np.flatnonzero(~inside_wall(nodes))
    sources, goals = rng.choice(free, 12), rng.choice(free, 40)
    on_grid = dijkstra(graph, indices=sources)[:, goals].ravel()
    begin, end = np.repeat(nodes[sources], len(goals), 0), np.tile(nodes[goals], (len(sources), 1))
    ours = geodesics(begin, end)[1]
    assert (ours <= on_grid + 2.05).all(), "no longer than a way that exists, but for the clearance at the door's corners"
    assert (ours >= on_grid / 1.03 - 1e-6).all(), "no shorter than what there is (the grid's angles cost up to 3 %)"
    assert np.allclose(ours, geodesics(end, begin)[1])


def greedy(task: Wall, problems: list[Problem], steps: int) -> np.ndarray:
    """Final distance after always stepping straight towards the goal."""
    points, goals = np.stack([p.start for p in problems]), np.stack([p.goal for p in problems])
    for _ in range(steps):
        offset = goals - points
        points = advance(points, offset * np.minimum(1.0, task.speed / np.maximum(np.hypot(*offset.T), EPS))[:, None])
    return task.distance(points, goals)


@pytest.mark.parametrize(
    ("kind", "horizon", "speed"), [("free", 50, 1.0), ("shallow", 50, 1.0), ("deep", 100, 1.0), ("deep", 20, 5.0)]
)
def test_kinds_differ_as_defined(kind: str, horizon: int, speed: float) -> None:
    task = Wall(kind=kind, speed=speed)
    problems = [task.problem(seed, horizon) for seed in range(24)]
    begin, end = np.stack([p.start for p in problems]), np.stack([p.goal for p in problems])
    paths, lengths = geodesics(begin, end)
    straight = task.distance(begin, end)
    leads_away = ((paths[:, 1] - paths[:, 0]) * (end - begin)).sum(1) < 0.0
    if kind == "free":
        assert np.allclose(lengths, straight)
        assert (greedy(task, problems, horizon) < 1e-6).all()
    elif kind == "shallow":
        assert (lengths > straight + 1.0).all()
        assert (lengths <= LONG_WAY * straight).all()
        assert not leads_away.any()
    else:
        assert (leads_away | (lengths > LONG_WAY * straight)).all()
        stuck = greedy(task, problems, 4 * horizon) > SUCCESS
        assert stuck[leads_away].all()
        assert stuck.mean() > 0.8
    assert {p.kind for p in problems} == {kind}


@pytest.mark.parametrize("kind", ["free", "shallow", "deep"])
def test_longer_horizons_ask_for_longer_ways(kind: str) -> None:
    task = Wall(kind=kind)
    means = []
    for horizon in (30, 50, 70):
        problems = [task.problem(seed, horizon) for seed in range(12)]
        lengths = geodesics(np.stack([p.start for p in problems]), np.stack([p.goal for p in problems]))[1]
        assert (lengths <= 0.95 * horizon + EPS).all()
        assert (lengths >= min(0.7 * horizon, 45.0) - EPS).all()
        means.append(lengths.mean())
    assert means == sorted(means)


def test_references_walk_the_shortest_way() -> None:
    task = Wall(kind="deep")
    for seed in range(8):
        problem = task.problem(seed, 100)
        states = execute(task, [problem], problem.reference_actions[None]).states
        assert path_length(states)[0] == pytest.approx(geodesics(problem.start[None], problem.goal[None])[1][0])
        assert np.hypot(*problem.reference_actions.T).max() <= 1.0 + EPS


def test_problems_do_not_change_between_versions() -> None:
    """Results of different days are paired by seed: a change here makes old ledgers incomparable, so do it knowingly."""
    assert Wall(kind="free").problem(0, 50).start == pytest.approx(GOLDEN_START, abs=1e-9)
    assert Wall(kind="free").problem(0, 50).goal == pytest.approx(GOLDEN_GOAL, abs=1e-9)


def test_behaviour_covers_space_contact_and_pushes() -> None:
    states, actions = Wall().sample(np.random.default_rng(0), 300, 60)
    points = states.reshape(-1, 2)
    assert not inside_wall(points).any()
    counts = np.histogram2d(*points.T, bins=11, range=[(LOW, HIGH)] * 2)[0]
    middles = np.stack(np.meshgrid(*[np.linspace(LOW + 2.5, HIGH - 2.5, 11)] * 2, indexing="ij"), -1)
    assert (counts[~inside_wall(middles)] > 25).all()
    x, y, force = states[:, :-1, 0], states[:, :-1, 1], actions[..., 0]
    for pushed in ((x == WALL_LEFT) & (force > 0.2), (x == WALL_RIGHT) & (force < -0.2)):
        assert pushed.mean() > 0.03
    crossings = (states[:, 0, 0] < WALL_LEFT) & (states[:, -1, 0] > WALL_RIGHT)
    assert crossings.sum() >= 3
    in_door = (x > WALL_LEFT) & (x < WALL_RIGHT)
    assert (in_door & ((y == DOOR_LOW) | (y == DOOR_HIGH))).mean() > 0.005
    assert (np.abs(actions) == 1.0).mean() > 0.05


def test_free_points_are_free_and_everywhere() -> None:
    points = free_points(np.random.default_rng(0), 5000)
    assert not inside_wall(points).any()
    assert ((points[:, 0] > WALL_LEFT) & (points[:, 0] < WALL_RIGHT)).any()
    assert np.allclose(points.mean(0), 32.5, atol=1.5)


def test_impossible_kinds_and_bad_settings_are_refused() -> None:
    with pytest.raises(UserError, match="no 'deep' problem of 5 steps at speed 1"):
        Wall(kind="deep").problem(0, 5)
    with pytest.raises(UserError, match="did you mean 'shallow'"):
        Wall(kind="shalow")
    for speed in (0.0, -1.0, float("nan"), float("inf"), "fast"):
        with pytest.raises(UserError, match="speed"):
            make_task("wall", speed=speed)
    with pytest.raises(UserError, match=r"start \[32.0, 40.0\] is not in the free space"):
        Wall().simulate(np.array([[10.0, 10.0], [32.0, 40.0]]), np.zeros((2, 1, 2)))


def test_the_kind_does_not_change_the_dynamics_and_speed_is_a_number() -> None:
    assert Wall(kind="deep", speed=2).dynamics == Wall(kind="free", speed=2.0).dynamics
    assert Wall(speed=2) == Wall(speed=2.0)
    assert isinstance(Wall(speed=2).dynamics["speed"], float)


def test_the_picture_shows_the_dot_where_the_point_is() -> None:
    for point in ([10.0, 50.0], [50.0, 10.0], [32.0, 10.0]):
        picture = Wall().render(np.array(point), 65).astype(int)
        red = np.argwhere((picture[..., 0] > 180) & (picture[..., 1] < 110))
        assert red.mean(0)[::-1] + 0.5 == pytest.approx(point, abs=0.5)
