"""Sensible settings of known environments, so that an id alone makes a task. A change here is a new version of the task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Defaults of one environment; lengths in m, angles in rad."""

    names: tuple[str, ...]
    """Names of the first observation features, with their units."""
    features: tuple[str, ...]
    """Features in which the goal is reached."""
    tolerance: tuple[float, ...]
    """Largest error of each of them."""
    behaviour: str = "smooth"
    strength: float = 1.0
    """Scale of the behaviour's actions."""
    keys: tuple[str, ...] | None = None


_REACHER = (
    "cos_shoulder",
    "cos_elbow",
    "sin_shoulder",
    "sin_elbow",
    "target_x_m",
    "target_y_m",
    "shoulder_rad_s",
    "elbow_rad_s",
    "fingertip_x_m",
    "fingertip_y_m",
)
_PUSHER = (
    *(f"joint{i}_rad" for i in range(7)),
    *(f"joint{i}_rad_s" for i in range(7)),
    *(f"{part}_{axis}_m" for part in ("tips_arm", "object", "goal") for axis in "xyz"),
)
_BALL = ("ball_x_m", "ball_y_m", "ball_x_m_s", "ball_y_m_s")
_ANT = ("body_x_m", "body_y_m")
_PUSH_T = ("agent_x_px", "agent_y_px", "block_x_px", "block_y_px", "block_rad")
_FETCH = ("gripper_x_m", "gripper_y_m", "gripper_z_m", "object_x_m", "object_y_m", "object_z_m")
_CART = ("cart_m", "cart_m_s", "pole_rad", "pole_rad_s")

PRESETS: dict[str, Preset] = {
    "Pendulum": Preset(("cos_angle", "sin_angle", "speed_rad_s"), ("cos_angle", "sin_angle", "speed_rad_s"), (0.2, 0.2, 1.0)),
    "MountainCarContinuous": Preset(("car_position", "car_speed"), ("car_position",), (0.05,), "hold"),
    "MountainCar": Preset(("car_position", "car_speed"), ("car_position",), (0.05,), "hold"),
    "CartPole": Preset(_CART, ("cart_m", "pole_rad"), (0.05, 0.05), "hold"),
    "InvertedPendulum": Preset(("cart_m", "pole_rad", "cart_m_s", "pole_rad_s"), ("cart_m", "pole_rad"), (0.05, 0.1), "smooth"),
    "Reacher": Preset(_REACHER, ("fingertip_x_m", "fingertip_y_m"), (0.02, 0.02), strength=0.2),
    "Pusher": Preset(_PUSHER, ("tips_arm_x_m", "tips_arm_y_m", "tips_arm_z_m"), (0.05, 0.05, 0.05)),
    "PointMaze": Preset(_BALL, ("ball_x_m", "ball_y_m"), (0.3, 0.3), "hold"),
    "pointmaze": Preset(_BALL[:2], _BALL[:2], (0.5, 0.5), "hold"),
    "AntMaze": Preset(_ANT, _ANT, (0.5, 0.5), keys=("achieved_goal", "observation")),
    "PushT": Preset(_PUSH_T, ("block_x_px", "block_y_px"), (20.0, 20.0)),
    "FetchReach": Preset(_FETCH[:3], _FETCH[:3], (0.03, 0.03, 0.03)),
    "FetchPush": Preset(_FETCH, _FETCH[:3], (0.03, 0.03, 0.03)),
}
"""Presets by the beginning of an id, up to a `-` or `_` (PointMaze_UMaze-v3)."""


def preset_of(name: str) -> Preset | None:
    """The preset of an id, with or without its module and version; None if there is none."""
    return PRESETS.get(plain_name(name))


def plain_name(name: str) -> str:
    """The beginning of an id, without its module, namespace, variant and version."""
    return name.rpartition(":")[2].rpartition("/")[2].partition("-")[0].partition("_")[0]
