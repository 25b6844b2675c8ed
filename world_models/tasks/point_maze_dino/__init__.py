"""Point maze as DINO-WM has it (`point_maze_dino`), by reading its code."""

from world_models.tasks.point_maze_dino.task import PointMazeDino

__all__ = ["PointMazeDino"]
