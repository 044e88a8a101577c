"""What is a batch task made of, for the model? Records with their outcomes, leases, generations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tests.property.events import Result


class Violation(AssertionError):
    """The server did what the contract forbids."""


class Outcome(NamedTuple):
    """The recorded end of a record; `number` counts those of a task in the order of their commits."""

    state: str
    code: int
    reason: str
    attempt: int
    generation: int
    number: int


class Attempt(NamedTuple):
    """An execution of a record that ended; CANCELLED if it was cut short."""

    generation: int
    number: int
    state: str
    code: int
    reason: str


@dataclass(eq=False)
class Record:
    """One record. `begun`, `lost`, `failures` and `not_before` are of the current generation."""

    index: int
    record_id: str
    text: str
    begun: int = 0
    lost: int = 0
    failures: int = 0
    not_before: int = 0
    not_after: int = 0
    lease: Lease | None = None
    running: bool = False
    outcomes: list[Outcome] = field(default_factory=list)
    begun_before: dict[int, int] = field(default_factory=dict)  # by generation that ended
    attempts: list[Attempt] = field(default_factory=list)


@dataclass(eq=False)
class Lease:
    """A claim on records.

    Attributes:
        open: those of which it still may bring the end.
        held: a worker still has it.
        state, error, end: once none is open any more.
    """

    epoch: int
    indexes: list[int]
    worker: str
    start: int
    open: set[int]
    begun: list[int] = field(default_factory=list)
    results: dict[int, Result] = field(default_factory=dict)
    held: bool = True
    state: str = "RUNNING"
    error: tuple[int, str] | None = None
    end: int = 0

    def close(self, state: str, error: tuple[int, str] | None, now: int) -> None:
        """It has ended, unless it had before."""
        self.open.clear()
        if self.state == "RUNNING":
            self.state, self.error, self.end = state, error, now


@dataclass(eq=False)
class Generation:
    """One run over the records. `base`: outcomes of this one and later ones count in it."""

    number: int
    base: int
    operation: str
    create: int
    forgotten: bool = False
    state: str = ""  # the final one, once it has ended
