"""What did the server answer? Errors taken apart, and a list of the reasons that a test has seen."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import (
    BadRequest,
    ErrorInfo,
    PreconditionFailure,
    QuotaFailure,
    ResourceInfo,
    RetryInfo,
)
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from batchyard_server.model.errors import DOMAIN, Code, Reason

seen: list[Reason] = []  # by the test that runs now; tests/rpc/conftest.py empties and reads it

_STANDARD: dict[int, type[Message]] = {
    Code.INVALID_ARGUMENT: BadRequest,
    Code.NOT_FOUND: ResourceInfo,
    Code.ALREADY_EXISTS: ResourceInfo,
    Code.FAILED_PRECONDITION: PreconditionFailure,
    Code.RESOURCE_EXHAUSTED: QuotaFailure,
    Code.UNAVAILABLE: RetryInfo,
}


def provokes(*reasons: Reason) -> pytest.MarkDecorator:
    """Mark of a test that must see exactly these reasons on the wire."""
    return pytest.mark.provokes(*reasons)


class Answer:
    """A google.rpc.Status that was found in trailers."""

    def __init__(self, status: Status) -> None:
        self.status = status
        self.code = Code(status.code)
        info = self.detail(ErrorInfo)
        assert info.domain == DOMAIN
        self.reason = Reason(info.reason)
        self.metadata = dict(info.metadata)

    def detail(self, kind: type[Any]) -> Any:
        """The one detail of this kind."""
        found = [each for each in self.status.details if each.Is(kind.DESCRIPTOR)]
        assert len(found) == 1, f"{len(found)} {kind.__name__} in {self.status}"
        message = kind()
        found[0].Unpack(message)
        return message

    @property
    def field(self) -> str:
        """The field that BadRequest names."""
        (violation,) = self.detail(BadRequest).field_violations
        assert violation.description
        return violation.field


def answer(error: grpc.RpcError) -> Answer:
    """What an RPC failed with; its form is checked against AIP-193."""
    status = rpc_status.from_call(error)  # pyright: ignore[reportArgumentType] - an RpcError is a call
    assert status is not None, f"no google.rpc.Status in {error}"
    found = Answer(status)
    assert len({each.type_url for each in status.details}) == len(status.details)
    standard = _STANDARD.get(found.code)
    if standard is not None:
        found.detail(standard)
    assert len(status.SerializeToString()) < 4096
    seen.append(found.reason)
    return found
