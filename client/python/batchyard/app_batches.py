"""Batches of items, as users of Toloka's SDK know them, over a Batchyard server.

from batchyard.app_batches import AppBatches

with AppBatches("127.0.0.1:50151", handler="echo") as toloka_client:
    batch = toloka_client.create_app_batch("project", name="first", items=[{"n": 1}, {"n": 2}])
    toloka_client.start_app_batch("project", batch.id)
    for batch in toloka_client.get_app_batches("project", status="COMPLETED"):
        print(batch.id, batch.status, batch.items_count)
"""

from __future__ import annotations

from batchyard._aio.app_batches import AsyncAppBatches
from batchyard._app_batch import AppBatch, AppItem, AppItemError, AppItemIds, ItemsImport, PriorityOrder
from batchyard._app_errors import (
    AccessDeniedApiError,
    ApiError,
    AuthenticationApiError,
    ConflictStateApiError,
    DoesNotExistApiError,
    FailedOperation,
    InternalApiError,
    RemoteServiceUnavailableApiError,
    TooManyRequestsApiError,
    ValidationApiError,
)
from batchyard._app_operation import AppOperation
from batchyard._app_requests import (
    AppBatchCreateRequest,
    AppBatchPatch,
    AppBatchSearchRequest,
    AppBatchSearchResult,
    AppItemsCreateRequest,
)
from batchyard._sync.app_batches import AppBatches

__all__ = [
    "AccessDeniedApiError",
    "ApiError",
    "AppBatch",
    "AppBatchCreateRequest",
    "AppBatchPatch",
    "AppBatchSearchRequest",
    "AppBatchSearchResult",
    "AppBatches",
    "AppItem",
    "AppItemError",
    "AppItemIds",
    "AppItemsCreateRequest",
    "AppOperation",
    "AsyncAppBatches",
    "AuthenticationApiError",
    "ConflictStateApiError",
    "DoesNotExistApiError",
    "FailedOperation",
    "InternalApiError",
    "ItemsImport",
    "PriorityOrder",
    "RemoteServiceUnavailableApiError",
    "TooManyRequestsApiError",
    "ValidationApiError",
]
