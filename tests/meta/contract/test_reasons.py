"""Is every ErrorReason known on both sides, each in the place its number says?"""

from __future__ import annotations

from batchyard import _error_map
from batchyard.v1 import error_reason_pb2
from batchyard_server.model.errors import DOMAIN, Reason

BY_NUMBER = {number: name for name, number in error_reason_pb2.ErrorReason.items() if number}


def names(low: int, high: int) -> set[str]:
    """Reasons with low <= number < high."""
    return {name for number, name in BY_NUMBER.items() if low <= number < high}


def test_the_server_knows_every_reason_and_no_other() -> None:
    assert {reason.name for reason in Reason} == set(BY_NUMBER.values())
    assert [reason for reason in Reason if reason.name != reason.value] == []


def test_the_client_has_an_exception_for_every_reason_of_a_call_a_task_and_a_record() -> None:
    assert set(_error_map.BY_RPC_REASON) == names(1, 32)
    assert set(_error_map.BY_TASK_REASON) == names(32, 64)
    assert set(_error_map.BY_RECORD_REASON) == names(64, 128)


def test_both_sides_mean_the_same_domain() -> None:
    assert _error_map.DOMAIN == DOMAIN == "batchyard.dev"
