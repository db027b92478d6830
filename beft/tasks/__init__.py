"""The registry of tasks."""

from beft.tasks.table import TABLE, Task

__all__ = ["TABLE", "Task"]
