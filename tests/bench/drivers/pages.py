"""Times unary pages of 1000: the first one and, after walking there, the last full one."""

from __future__ import annotations

import time
from typing import Any

from batchyard.v1 import batch_task_service_pb2
from tests.bench import api
from tests.bench.drivers import protocol

SIZE = 1000
# Kind of list: its method, request, response, and the field that holds the items.
LISTS: dict[str, tuple[str, Any, Any, str]] = {
    "tasks": (
        "ListBatchTasks",
        batch_task_service_pb2.ListBatchTasksRequest,
        batch_task_service_pb2.ListBatchTasksResponse,
        "batch_tasks",
    ),
    "records": (
        "ListRecords",
        batch_task_service_pb2.ListRecordsRequest,
        batch_task_service_pb2.ListRecordsResponse,
        "records",
    ),
}


def walk(address: str, kind: str, parent: str) -> dict[str, Any]:
    """Read all pages; the number of items, and the token of the last page that is full."""
    method, request, response, field = LISTS[kind]
    items, token, last = 0, "", ""
    with api.connect(address) as channel:
        call = channel.unary_unary(api.SERVICE + method, request.SerializeToString, response.FromString)
        while True:
            page = call(request(parent=parent, page_size=SIZE, page_token=token), timeout=30)
            found = len(getattr(page, field))
            items += found
            last = token if found == SIZE else last
            token = page.next_page_token
            if not token:
                return {"items": items, "last": last}


def times(address: str, kind: str, parent: str, tokens: list[str], count: int) -> dict[str, Any]:
    """Seconds of `count` reads of each page, in turns, parsed; one list per token.

    Raises:
        ValueError: A page is not full.
    """
    method, request, response, field = LISTS[kind]
    taken: list[list[float]] = [[] for _ in tokens]
    with api.connect(address) as channel:
        call = channel.unary_unary(api.SERVICE + method, request.SerializeToString, response.FromString)
        for turn in range(count + 2):
            for token, seconds in zip(tokens, taken, strict=True):
                asked = request(parent=parent, page_size=SIZE, page_token=token)
                began = time.perf_counter()
                page = call(asked, timeout=30)
                took = time.perf_counter() - began
                if len(getattr(page, field)) != SIZE:
                    raise ValueError(f"{len(getattr(page, field))} items in a page of {SIZE}")
                if turn >= 2:
                    seconds.append(took)
    return {"seconds": taken}


def bare_times(address: str, keys: list[int], count: int) -> dict[str, Any]:
    """The same against a bare server that reads by keyset."""
    parse = batch_task_service_pb2.ListBatchTasksResponse.FromString
    taken: list[list[float]] = [[] for _ in keys]
    with api.connect(address) as channel:
        call = channel.unary_unary("/Bare/RowPage")
        for turn in range(count + 2):
            for key, seconds in zip(keys, taken, strict=True):
                began = time.perf_counter()
                page = parse(call(b"%d" % key, timeout=30))
                took = time.perf_counter() - began
                if len(page.batch_tasks) != SIZE:
                    raise ValueError(f"{len(page.batch_tasks)} items in a page of {SIZE}")
                if turn >= 2:
                    seconds.append(took)
    return {"seconds": taken}


if __name__ == "__main__":
    protocol.serve(walk=walk, times=times, bare_times=bare_times)
