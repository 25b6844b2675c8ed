"""Any Gymnasium environment as a task."""

from world_models.tasks.gym.task import GymTask
from world_models.tasks.gym.visible import VisibleGymTask, gym_task

__all__ = ["GymTask", "VisibleGymTask", "gym_task"]
