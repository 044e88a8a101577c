"""What does a caller say of a task? The seed's words, and which of them cannot be honoured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from datetime import timedelta

_REFUSED: Final = (
    *("container_settings", "exit_conditions", "resource_files", "output_files", "affinity_info", "user_identity"),
    *("depends_on", "application_package_references", "authentication_token_settings"),
)


def _refuse(given: object, fields: Sequence[str]) -> None:
    """Raise ValueError if a field is set that means nothing here."""
    if names := [field for field in fields if getattr(given, field) is not None]:
        raise ValueError(f"{type(given).__name__}: {', '.join(names)} cannot be honoured by Batchyard: leave it out")


def _check_list(records: object) -> None:
    """Raise TypeError for what cannot be read again, as a second try would have to."""
    if isinstance(records, str) or not isinstance(records, Sequence):
        raise TypeError(f"records are a list, not {type(records).__name__}")


@dataclass(slots=True, kw_only=True)
class TaskConstraints:
    """Limits of one task; what is None has its default.

    Attributes:
        max_wall_clock_time: from the start of the task on, at most 180 days. Default: no limit.
        retention_time: how long the task with its files is kept after its end, at most 3650 days. Default: 30 days.
        max_task_retry_count: n allows n + 1 tries, −1 any number. A command is tried again after an exit code other
            than 0, not if it could not be started. Of several records each is counted for itself. Default: 0.
    """

    max_wall_clock_time: timedelta | None = None
    retention_time: timedelta | None = None
    max_task_retry_count: int | None = None


@dataclass(frozen=True, slots=True)
class EnvironmentSetting:
    """An environment variable of a command. What sets it is the handler, from the record."""

    name: str
    value: str | None = ""


@dataclass(slots=True, kw_only=True)
class MultiInstanceSettings:
    """A task of several records that are the same but for their `instance`; if one of them fails, the task fails.

    Nothing promises that they run at the same time.

    Attributes:
        number_of_instances: how many, from 1. None: 1.
        coordination_command_line: cannot be honoured; ValueError when set.
        common_resource_files: cannot be honoured; ValueError when set.
    """

    number_of_instances: int | None = 1
    coordination_command_line: str | None = None
    common_resource_files: Sequence[Any] | None = None

    @property
    def count(self) -> int:
        """How many records."""
        return 1 if self.number_of_instances is None else self.number_of_instances

    def check(self) -> None:
        """Raise ValueError for what cannot be honoured or makes no sense."""
        _refuse(self, ("coordination_command_line", "common_resource_files"))
        if self.count < 1:
            raise ValueError(f"number_of_instances is at least 1, not {self.number_of_instances}")


@dataclass(slots=True, kw_only=True)
class TaskAddParameter:
    """A task to be added.

    By default it is one record, `{"command_line": …, "environment_settings": {name: value}}`, for the handler that the
    operator registered for commands. Batchyard itself runs no shell.

    Attributes:
        id: `[a-zA-Z0-9_-]{1,64}`, unique in its job without regard to case.
        command_line: what the handler is to run. Required without `records`.
        display_name: text for people, at most 256 bytes.
        constraints: limits; None: the defaults.
        environment_settings: part of the record.
        multi_instance_settings: several records instead of one.
        required_slots: None or 1: a record takes one slot.
        handler: id of the handler; None: that of the configuration.
        records: what `Client.batch.run` takes, as a list: the task has these instead of a command.
        parameters: arguments of the whole task, the handler's `context.parameters`.
        container_settings: this and the following cannot be honoured; ValueError when set.
        exit_conditions: ditto.
        resource_files: ditto.
        output_files: ditto.
        affinity_info: ditto.
        user_identity: ditto.
        depends_on: ditto.
        application_package_references: ditto.
        authentication_token_settings: ditto.

    Raises:
        ValueError: a field that cannot be honoured is set, or fields contradict each other.
        TypeError: records are no list.
    """

    id: str
    command_line: str | None = None
    display_name: str | None = None
    container_settings: Any = None
    exit_conditions: Any = None
    resource_files: Any = None
    output_files: Any = None
    environment_settings: Sequence[EnvironmentSetting] | None = None
    affinity_info: Any = None
    constraints: TaskConstraints | None = None
    required_slots: int | None = None
    user_identity: Any = None
    multi_instance_settings: MultiInstanceSettings | None = None
    depends_on: Any = None
    application_package_references: Any = None
    authentication_token_settings: Any = None
    handler: str | None = None
    records: Sequence[object] | None = None
    parameters: object = None

    def __post_init__(self) -> None:
        """Refuse at once what `check` would refuse when it is added."""
        self.check()

    def check(self) -> None:
        """Raise ValueError for what cannot be honoured or contradicts itself, TypeError for records of no list."""
        _refuse(self, _REFUSED)
        if not self.id:
            raise ValueError("a task needs an id")
        if self.required_slots not in {None, 1}:
            raise ValueError(f"required_slots: a record takes one slot, not {self.required_slots}")
        if self.multi_instance_settings is not None:
            self.multi_instance_settings.check()
        if self.records is None:
            if not self.command_line:
                raise ValueError("a task needs a command_line or records")
            return
        _check_list(self.records)
        for field in ("command_line", "environment_settings", "multi_instance_settings"):
            if getattr(self, field) is not None:
                raise ValueError(f"a task has records or {field}, not both")

    def payloads(self) -> Sequence[object]:
        """Return its records."""
        if self.records is not None:
            return self.records
        record: dict[str, object] = {"command_line": self.command_line}
        if self.environment_settings:
            record["environment_settings"] = self._environment()
        if self.multi_instance_settings is None:
            return [record]
        return [record | {"instance": i} for i in range(self.multi_instance_settings.count)]

    def _environment(self) -> Mapping[str, str]:
        return {setting.name: setting.value or "" for setting in self.environment_settings or ()}
