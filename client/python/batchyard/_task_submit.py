"""How do a task and its constraints, in the seed's words, become what is submitted?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from batchyard._new_task import NewTask
from batchyard._policies import FailurePolicy
from batchyard._spans import set_span
from batchyard._task_views import DEFAULT_RETENTION, NO_LIMIT
from batchyard.v1 import batch_task_pb2

if TYPE_CHECKING:
    from datetime import timedelta

    from batchyard._settings import TaskSettings
    from batchyard._task_calls import TaskOperationsConfig
    from batchyard._task_parameters import TaskAddParameter, TaskConstraints

# As the seed's service has it: if one instance fails, the task fails.
_NO_FAILURE: Final = FailurePolicy(max_failed_records=0)


def to_new_task(task: TaskAddParameter, config: TaskOperationsConfig) -> NewTask:
    """Return the task that is submitted: the default serializer.

    Raises:
        ValueError: a field that cannot be honoured is set, or fields contradict each other.
    """
    task.check()
    settings: TaskSettings = {"display_name": task.display_name, "retry_policy": config.retry_policy}
    if task.parameters is not None:
        settings["parameters"] = task.parameters
    if task.multi_instance_settings is not None:
        settings["failure_policy"] = _NO_FAILURE
    if task.constraints is not None:
        settings["max_wall_clock_time"] = _limit(task.constraints.max_wall_clock_time)
        settings["retention_time"] = task.constraints.retention_time
        settings["max_retry_count"] = task.constraints.max_task_retry_count
    return NewTask(task.handler or config.handler, task.payloads(), task_id=task.id, **settings)


def to_constraints(constraints: TaskConstraints | None) -> batch_task_pb2.Constraints:
    """Return all constraints of a task.

    What is None is unset, so it becomes the default; what is the default, too, so that nothing changes when what is
    shown is given back.
    """
    message = batch_task_pb2.Constraints()
    if constraints is not None:
        set_span(message, "max_wall_clock_time", _limit(constraints.max_wall_clock_time))
        if constraints.retention_time != DEFAULT_RETENTION:
            set_span(message, "retention_time", constraints.retention_time)
        if constraints.max_task_retry_count:
            message.max_retry_count = constraints.max_task_retry_count
    return message


def _limit(time: timedelta | None) -> timedelta | None:
    """Return a limit; None if it is the time that stands for none."""
    return None if time is not None and time >= NO_LIMIT else time
