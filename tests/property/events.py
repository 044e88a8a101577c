"""What can happen to a task at its workers? The words that the model and the server's side share."""

from __future__ import annotations

from typing import NamedTuple


class Result(NamedTuple):
    """How a record ends: well (code 0), or with this code; what its handler says of a retry, None if nothing."""

    code: int = 0
    retryable: bool | None = None


SUCCESS = Result()


class Granted(NamedTuple):
    """Records of the task with this uid were leased."""

    lease: int
    uid: str
    generation: int
    indexes: list[int]
    epoch: int
    worker: str


class Begun(NamedTuple):
    """A worker began a record, as its n-th attempt."""

    lease: int
    index: int
    attempt: int


class Ended(NamedTuple):
    """A worker finished a record. It may still lose what came of it."""

    lease: int
    index: int
    result: Result


class Stored(NamedTuple):
    """The server told the worker that it has these."""

    lease: int
    indexes: list[int]


class GaveBack(NamedTuple):
    """These will not begin in this lease."""

    lease: int
    indexes: list[int]


class Over(NamedTuple):
    """The worker has ended its part of the lease, or handed it back untouched."""

    lease: int


class Lost(NamedTuple):
    """The worker is gone; `cause` CRASH, TIMEOUT or KILLED, `blamed` the record that ran, None if none did."""

    lease: int
    cause: str
    blamed: int | None
    unreaped: bool


Event = Granted | Begun | Ended | Stored | GaveBack | Over | Lost
