"""What became of many tasks that were stopped at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Of so many tasks the names are told.
NAMES: Final = 100


@dataclass(frozen=True, slots=True)
class CancelledTasks:
    """What `cancel_many` did, or with validate_only would do.

    Attributes:
        count: how many tasks it stopped.
        names: resource names of the first 100 of them, the newest task first.
    """

    count: int
    names: tuple[str, ...]
