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


LEAVES = [
    *(name for name in sorted(ANY_TIME | UNTIL_FINAL | IN_DRAFT) if name not in PARTS),
    *(f"{name}.{part}" for name, parts in PARTS.items() for part in parts),
]
Config = Mapping[str, Any]


def leaves_of(stage: str, given: Config, mask: Sequence[str] | None) -> list[str]:
    """The fields that a call names, those of parts one by one. `mask`: None = what is given."""
    if mask is None:
        return [leaf for leaf in LEAVES if value(given, leaf) is not None]
    if list(mask) == ["*"]:
        return [leaf for leaf in LEAVES if may_change(stage, leaf)]
    return [leaf for leaf in LEAVES if leaf in mask or leaf.split(".")[0] in mask]


def may_change(stage: str, leaf: str) -> bool:
    """Whether it may be changed at that stage."""
    if leaf in ANY_TIME or leaf == "constraints.retention_time":
        return True
    return stage == "DRAFT" or (not stage and leaf not in IN_DRAFT)


def value(config: Config, leaf: str) -> Any:
    """What is set there, None if nothing."""
    name, _, part = leaf.partition(".")
    return config.get(name, {}).get(part) if part else config.get(name)


def differing(config: Config, given: Config, leaves: Sequence[str]) -> list[str]:
    """Those of the fields that would become something else. Equal values change nothing, and are not refused."""
    return [leaf for leaf in leaves if value(config, leaf) != value(given, leaf)]


def merged(config: Config, given: Config, leaves: Sequence[str]) -> dict[str, Any]:
    """The configuration with these fields as in `given`; what is not there is as by default."""
    made = {name: dict(each) if name in PARTS else each for name, each in config.items()}
    for leaf in leaves:
        name, _, part = leaf.partition(".")
        owner, key = (made.setdefault(name, {}), part) if part else (made, name)
        owner.pop(key, None)
        if value(given, leaf) is not None:
            owner[key] = value(given, leaf)
    return {name: each for name, each in made.items() if each or name not in PARTS}
