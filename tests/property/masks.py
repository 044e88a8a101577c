"""What does an update_mask name, and what may be changed when? The contract's words on UpdateBatchTask.

`stage` of a task: "DRAFT", "final", or "" for all between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ANY_TIME = frozenset({"display_name", "labels", "archived"})
UNTIL_FINAL = frozenset({"priority", "parallel_count", "constraints", "retry_policy", "failure_policy"})
IN_DRAFT = frozenset({"handler", "parameters"})
PARTS = {
    "constraints": ("max_wall_clock_time", "record_timeout", "retention_time", "max_retry_count"),
    "retry_policy": ("initial_backoff", "max_backoff", "multiplier", "retryable_codes"),
    "failure_policy": ("max_failed_records", "max_failed_ratio"),
}


def named(stage: str, given: Mapping[str, Any], mask: Sequence[str] | None) -> list[str]:
    """The paths that a call names. `mask`: None = what is given, field by field."""
    if mask is None:
        return [path for name, value in given.items() for path in _paths(name, value)]
    if list(mask) != ["*"]:
        return list(mask)
    if stage == "final":
        return [*sorted(ANY_TIME), "constraints.retention_time"]
    return sorted(ANY_TIME | UNTIL_FINAL | (IN_DRAFT if stage == "DRAFT" else frozenset()))


def _paths(name: str, value: Any) -> list[str]:
    return [f"{name}.{part}" for part in value] if name in PARTS else [name]


def forbidden(stage: str, paths: Sequence[str]) -> str:
    """The reason for which these may not be changed; "" if they may."""
    for path in paths:
        top = path.split(".")[0]
        if top in ANY_TIME or path == "constraints.retention_time":
            continue
        if stage == "final":
            return "TASK_COMPLETED"
        if top in IN_DRAFT and stage != "DRAFT":
            return "ILLEGAL_STATE"
    return ""


def merged(config: Mapping[str, Any], given: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The configuration with these paths as in `given`; what is named and not given is as by default."""
    made = {name: dict(value) if name in PARTS else value for name, value in config.items()}
    for path in paths:
        name, _, part = path.partition(".")
        if name not in PARTS:
            made.pop(name, None)
            if name in given:
                made[name] = given[name]
        for each in [part] if part else PARTS.get(name, ()):
            made.setdefault(name, {}).pop(each, None)
            if each in given.get(name, {}):
                made[name][each] = given[name][each]
    return {name: value for name, value in made.items() if value or name not in PARTS}
