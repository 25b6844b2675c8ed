"""Push-T, twice: as ours (`push_t`), and as DINO-WM and stable-worldmodel have it (`push_t_upstream`)."""

from world_models.tasks.push_t.task import PushT
from world_models.tasks.push_t.upstream import PushTUpstream

__all__ = ["PushT", "PushTUpstream"]
