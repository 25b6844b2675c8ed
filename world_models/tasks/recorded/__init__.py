"""A task that is known from recordings only."""

from world_models.tasks.recorded.task import RecordedTask, recorded_task

__all__ = ["RecordedTask", "recorded_task"]
