"""What tests of seed 002 do to batches."""

from __future__ import annotations

from batchyard.service import Batch, BatchResponse
from tests.support.eventually import eventually
from tests.support.server import SECONDS


def ended(batch: Batch) -> BatchResponse:
    """What `results` answers in the end."""
    return eventually(lambda: (now := batch.results()) is not None and now.state != "Pending" and now, SECONDS)


def name_of(batch: Batch) -> str:
    """Resource name of its task."""
    return f"projects/default/batchTasks/{batch.execution_id}"
