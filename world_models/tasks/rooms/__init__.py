"""Two rooms and a door, as stable-worldmodel (`two_room`) and DINO-WM (`wall_dino`) have them."""

from world_models.tasks.rooms.two_room import TwoRoom
from world_models.tasks.rooms.wall_dino import WallDino

__all__ = ["TwoRoom", "WallDino"]
