# Generated from _aio/app_batches.py by client/python/unasync.py; change that file and run `make gen`.
"""Batches of items, for users of Toloka's SDK: the methods of its client that are about app batches.

An app project is a project, a batch a batch task, an item a record; the handler is what works on the items.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from batchyard._app_batch import AppBatch, AppItem, AppItemIds, item_id, item_place, known, priority_of
from batchyard._app_errors import api_errors
from batchyard._app_requests import (
    FOUND_BATCHES,
    MOST,
    AppBatchCreateRequest,
    AppBatchSearchRequest,
    AppBatchSearchResult,
    AppItemsCreateRequest,
    at_most,
    one_of,
    pack_items,
    search_filter,
    sort_order,
)
from batchyard._channel import DEFAULT_TARGET
from batchyard._names import project_name
from batchyard._settings import new_task
from batchyard._sync.app_life import AppLife
from batchyard._sync.call import call, pages
from batchyard._sync.client import Client
from batchyard._sync.connection import Connection
from batchyard.v1 import batch_task_service_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from types import TracebackType
    from typing import Unpack

    from batchyard._settings import TaskSettings
    from batchyard._sync.task import BatchTaskOperation

_SET_BY_REQUESTS: Final = {"display_name", "priority"}


class AppBatches(AppLife):
    """The batches of app projects.

    Every method that takes a request object also takes its fields as keywords. Every call that fails raises an
    `ApiError`; arguments that can never be right raise ValueError or TypeError before anything is sent.

    Args:
        client: a client, which stays the caller's; or the `host:port` of a server: then the client is this object's
            own, closed by `close` or at the end of a `with`.
        handler: id of the handler that works on the items of new batches. Only needed to create them.
        timeout: seconds for each call, its repetitions included; for an upload: seconds without progress.
        settings: what `TaskSettings` lists, for every new batch: parameters, labels, max_retry_count, …; but for
            display_name and priority, which requests give.

    Raises:
        TypeError, ValueError: a setting that does not exist, or a value that it cannot have.
    """

    def __init__(
        self,
        client: Client | str = DEFAULT_TARGET,
        handler: str | None = None,
        *,
        timeout: float = 60,
        **settings: Unpack[TaskSettings],
    ) -> None:
        if clash := _SET_BY_REQUESTS & set(settings):
            raise TypeError(f"{', '.join(sorted(clash))}: each request says this by name and priority_order")
        new_task(handler or "", settings)
        self._own: Client | None = None
        if isinstance(client, str):
            client = self._own = Client(client)
        self._connection = Connection(client.channel, client.project)
        self._handler = handler
        self._timeout = timeout
        self._settings = settings

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection, if it is this object's own. May be repeated."""
        if self._own is not None:
            self._own.close()

    # ------------------------------------------------------------------------------------------------------- read

    def get_app_batches(
        self,
        app_project_id: str,
        after_id: AppBatchSearchRequest | str | None = None,
        status: AppBatch.Status | str | None = None,
        id_lt: str | None = None,
        id_lte: str | None = None,
        id_gt: str | None = None,
        id_gte: str | None = None,
        name_lt: str | None = None,
        name_lte: str | None = None,
        name_gt: str | None = None,
        name_gte: str | None = None,
        created_lt: datetime | None = None,
        created_lte: datetime | None = None,
        created_gt: datetime | None = None,
        created_gte: datetime | None = None,
        batch_size: int | None = None,
    ) -> Iterator[AppBatch]:
        """Yield the batches of a project that fulfil every condition, by id, ascending; reads as it is iterated.

        Args:
            app_project_id: id of the project.
            after_id: only ids greater than this one; or all conditions as one `AppBatchSearchRequest`.
            status: only this status; a member of `AppBatch.Status` or its name.
            id_lt: only ids lower than this one, byte by byte.
            id_lte: lower or equal.
            id_gt: greater.
            id_gte: greater or equal.
            name_lt: only names lower than this one, byte by byte.
            name_lte: lower or equal.
            name_gt: greater.
            name_gte: greater or equal.
            created_lt: only those created before this time; one without a zone is in UTC.
            created_lte: before or at it.
            created_gt: after it.
            created_gte: after or at it.
            batch_size: most batches in one answer of the server, from 1 to 1000, which is the default.

        Raises:
            ValueError, TypeError: at once: no such status, a batch_size out of bounds, a value of another type.
            ApiError: while it is iterated: not answered within `timeout`, or refused.
        """
        ids = {"id_lt": id_lt, "id_lte": id_lte, "id_gt": id_gt, "id_gte": id_gte}
        names = {"name_lt": name_lt, "name_lte": name_lte, "name_gt": name_gt, "name_gte": name_gte}
        made = {
            "created_lt": created_lt,
            "created_lte": created_lte,
            "created_gt": created_gt,
            "created_gte": created_gte,
        }
        conditions: dict[str, Any] = {"status": status, **ids, **names, **made}
        request = None
        if after_id is None or isinstance(after_id, str):
            conditions["after_id"] = after_id
        else:
            request = after_id
        wanted = search_filter(one_of(AppBatchSearchRequest, request, conditions))
        return self._pages(app_project_id, wanted, at_most("batch_size", batch_size, MOST))

    def _pages(self, app_project_id: str, wanted: str | None, page_size: int) -> Iterator[AppBatch]:
        if wanted is None:
            return
        request = batch_task_service_pb2.ListBatchTasksRequest(
            parent=project_name(app_project_id), page_size=page_size, filter=wanted, order_by="id"
        )
        with api_errors():
            for page in pages(self._connection.service.ListBatchTasks, request, self._timeout):
                for task in page.batch_tasks:
                    yield AppBatch(task)

    def find_app_batches(
        self,
        app_project_id: str,
        request: AppBatchSearchRequest | None = None,
        sort: str | list[str] | None = None,
        limit: int | None = None,
        **conditions: Any,
    ) -> AppBatchSearchResult:
        """Return the first batches of a project that fulfil every condition.

        Args:
            app_project_id: id of the project.
            request: the conditions; or its fields as keywords.
            sort: a key, or a list of it: `id`, `name`, `created`, `status` (by how far it has come), descending
                with `-` before it. Equal ones come by id, ascending, which may be said as second key. None: by id.
            limit: most batches, from 1 to 1000. None: 100.
            conditions: the fields of a request.

        Returns:
            The batches as `content`, and `has_more`, whether there are more.

        Raises:
            ValueError, TypeError: sort or limit is none of these; a condition that does not exist, or of another type.
            ApiError: not answered within `timeout`, or refused.
        """
        wanted = search_filter(one_of(AppBatchSearchRequest, request, conditions))
        order, limit = sort_order(sort), at_most("limit", limit, FOUND_BATCHES)
        found: list[AppBatch] = []
        if wanted is None:
            return AppBatchSearchResult(found, has_more=False)
        message = batch_task_service_pb2.ListBatchTasksRequest(
            parent=project_name(app_project_id), page_size=limit + 1, filter=wanted, order_by=order
        )
        with api_errors():
            while len(found) <= limit:  # a page may be short and yet not be the last one
                page = call(self._connection.service.ListBatchTasks, message, self._timeout)
                found += map(AppBatch, page.batch_tasks)
                message.page_token = page.next_page_token
                if not message.page_token:
                    break
        return AppBatchSearchResult(found[:limit], has_more=len(found) > limit)

    def get_app_item(self, app_project_id: str, app_item_id: str) -> AppItem:
        """Read one item, with its output.

        Raises:
            ValueError: not the id of an item.
            DoesNotExistApiError: there is none.
            ApiError: not answered within `timeout`, or refused.
        """
        batch_id, index = item_place(app_item_id)
        with api_errors():
            return AppItem(self._handle(app_project_id, batch_id).get_record(index, timeout=self._timeout))

    def get_app_items(
        self,
        app_project_id: str,
        batch_id: str,
        status: AppItem.Status | str | None = None,
        batch_size: int | None = None,
    ) -> Iterator[AppItem]:
        """Yield the items of a batch with their outputs, in their order; reads as it is iterated.

        Args:
            app_project_id: id of the project.
            batch_id: id of the batch.
            status: only items of this status, a member of `AppItem.Status` or its name; all are read.
            batch_size: most items in one message of the server, from 1 to 1000, which is the default.

        Raises:
            ValueError: at once: no such status, a batch_size out of bounds.
            DoesNotExistApiError: while it is iterated: there is no such batch.
            ApiError: while it is iterated: not answered within `timeout`, or refused.
        """
        wanted = None if status is None else known("status", AppItem.Status, status)
        return self._items(self._handle(app_project_id, batch_id), wanted, at_most("batch_size", batch_size, MOST))

    def _items(self, handle: BatchTaskOperation, wanted: AppItem.Status | None, page_size: int) -> Iterator[AppItem]:
        with api_errors():
            for record in handle.records(view="full", page_size=page_size, timeout=self._timeout):
                item = AppItem(record)
                if wanted in {None, item.status}:
                    yield item

    # ------------------------------------------------------------------------------------------------------- make

    def create_app_batch(
        self, app_project_id: str, request: AppBatchCreateRequest | None = None, **fields: Any
    ) -> AppBatch:
        """Create a batch, which is NEW until it is started.

        Args:
            app_project_id: id of the project, which comes to be by its first batch.
            request: what to create; or its fields as keywords: name, items, priority_order, ignore_errors.
            fields: those.

        Returns:
            The batch; its `last_items_import` tells which items were skipped.

        Raises:
            ValidationApiError: an item cannot be sent (unless ignore_errors), or the server refuses the name.
            DoesNotExistApiError: there is no such handler.
            ValueError, TypeError: no handler was given; a priority_order, a field that does not exist.
            ApiError: not answered within `timeout`, or refused; no batch is left.
        """
        given = one_of(AppBatchCreateRequest, request, fields)
        if self._handler is None:
            raise ValueError("AppBatches(…, handler=…) says what works on the items; it was not given")
        settings = self._settings.copy()
        if given.name is not None:
            settings["display_name"] = given.name
        if given.priority_order is not None:
            settings["priority"] = priority_of(given.priority_order)
        records, done = pack_items(given)
        with api_errors():
            operation = self._batches(app_project_id).run(
                self._handler, records, start=False, timeout=self._timeout, **settings
            )
            info = operation.get_task_info(timeout=self._timeout)
        return AppBatch(info.message, done)

    def create_app_items(
        self, app_project_id: str, request: AppItemsCreateRequest | None = None, **fields: Any
    ) -> AppItemIds:
        """Add items to a batch that is NEW; returns when they are durable.

        Either all items can be sent or, unless ignore_errors, none is. If the connection then breaks off for more than
        `timeout`, the batch's `items_count` shows how many are in it.

        Args:
            app_project_id: id of the project.
            request: what to add; or its fields as keywords: batch_id, items, ignore_errors.
            fields: those.

        Returns:
            The ids of the items that were added, a list; its `last_items_import` tells which were skipped.

        Raises:
            ValidationApiError: an item cannot be sent, unless ignore_errors.
            ConflictStateApiError: the batch was started, or somebody else adds items to it now.
            DoesNotExistApiError: there is no such batch.
            TypeError: a field that does not exist, or one that is missing.
            ApiError: not answered within `timeout`, or refused.
        """
        given = one_of(AppItemsCreateRequest, request, fields)
        records, done = pack_items(given)
        handle = self._handle(app_project_id, given.batch_id)
        with api_errors():
            end = handle.append(records, timeout=self._timeout)
        return AppItemIds((item_id(handle.task_id, index) for index in range(end - len(records), end)), done)

    # The short names of these two; of the others in `AppLife`.
    create = create_app_batch
    items = create_app_items
