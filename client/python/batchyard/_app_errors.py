"""What can go wrong in `batchyard.app_batches`: the names its users know, over this package's own errors.

A failed call raises a class that is both: `except ConflictStateApiError` and `except batchyard.IllegalStateError` catch
the same error, with `code`, `message`, `reason` and `detail` as everywhere in this package.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING, Any, Final

import grpc

from batchyard._errors import BatchyardError, RpcError

if TYPE_CHECKING:
    from collections.abc import Generator

    from batchyard._app_operation import AppOperation


class ApiError(RpcError):
    """A call failed. Every other class here but `FailedOperation` is one."""


class ValidationApiError(ApiError):
    """What was asked for can never succeed; nothing was changed."""

    @property
    def invalid_fields(self) -> list[str]:
        """The fields refused, e.g. `items[3]` or `name`; empty if the server named none."""
        return [_OWN_FIELDS.get(each.field, each.field) for each in self.detail.field_violations]


class DoesNotExistApiError(ApiError):
    """No such batch, item, operation or handler."""


class ConflictStateApiError(ApiError):
    """Not possible in the state in which the batch is; metadata `state`."""


class TooManyRequestsApiError(ApiError):
    """A quota, a size or the server's disk is exhausted."""


class AuthenticationApiError(ApiError):
    """The server does not know who calls."""


class AccessDeniedApiError(ApiError):
    """The caller may not do this."""


class RemoteServiceUnavailableApiError(ApiError):
    """No server answers, after the repetitions that `timeout` allowed."""


class InternalApiError(ApiError):
    """A fault of the server."""


class FailedOperation(BatchyardError):
    """`raise_on_fail` of an operation that failed.

    Attributes:
        operation: the operation; its `details` say why.
    """

    def __init__(self, operation: AppOperation) -> None:
        self.operation = operation
        super().__init__(f"operation {operation.id} failed: {operation.details}")


_OWN_FIELDS: Final = {"batch_task.display_name": "name", "batch_task.priority": "priority_order"}
_Code = grpc.StatusCode
_BY_CODE: Final[dict[grpc.StatusCode, type[ApiError]]] = {
    _Code.INVALID_ARGUMENT: ValidationApiError,
    _Code.OUT_OF_RANGE: ValidationApiError,
    _Code.NOT_FOUND: DoesNotExistApiError,
    _Code.FAILED_PRECONDITION: ConflictStateApiError,
    _Code.ABORTED: ConflictStateApiError,
    _Code.RESOURCE_EXHAUSTED: TooManyRequestsApiError,
    _Code.UNAUTHENTICATED: AuthenticationApiError,
    _Code.PERMISSION_DENIED: AccessDeniedApiError,
    _Code.UNAVAILABLE: RemoteServiceUnavailableApiError,
    _Code.INTERNAL: InternalApiError,
    _Code.UNKNOWN: InternalApiError,
    _Code.DATA_LOSS: InternalApiError,
}


@functools.cache
def _both(known: type[ApiError], own: type[RpcError]) -> type[ApiError]:
    """Return the class of errors that are caught as either."""
    members: dict[str, Any] = {"__module__": known.__module__, "__doc__": known.__doc__}
    return type(known.__name__, (known, own), members)


def api_error(error: RpcError) -> ApiError:
    """Return a failed call's error as one of this module, of its own class too."""
    kind = _both(_BY_CODE.get(error.code, ApiError), type(error))
    return kind(error.code, error.message, error.detail)


@contextlib.contextmanager
def api_errors() -> Generator[None]:
    """Raise what fails within as errors of this module."""
    try:
        yield
    except RpcError as error:
        raise api_error(error) from error
