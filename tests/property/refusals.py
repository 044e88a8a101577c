"""What does a call answer that fails? And what is refused whatever the task is."""

from __future__ import annotations

from collections.abc import Sequence

from tests.property.life import Task


class Refusal(Exception):
    """The call fails: canonical code, reason, and metadata that must be there."""

    def __init__(self, code: str, reason: str, **metadata: str) -> None:
        super().__init__(code, reason, metadata)
        self.code, self.reason, self.metadata = code, reason, metadata


def missing(name: str) -> Refusal:
    """There is no such resource."""
    return Refusal("NOT_FOUND", "RESOURCE_NOT_FOUND", resource=name)


def check_etag(task: Task, etag: str) -> None:
    if etag and etag != task.etag:
        raise Refusal("ABORTED", "ETAG_MISMATCH", etag=task.etag)


def check_ids(ids: Sequence[str]) -> None:
    given = [each for each in ids if each]
    if len(set(given)) < len(given):
        raise Refusal("INVALID_ARGUMENT", "DUPLICATE_RECORD_ID")
