"""Both kinds of `batchyard.app_batches` over one client, and what tests ask of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from batchyard.app_batches import AppBatches, AsyncAppBatches
from tests.client.blocking import Blocking
from tests.support.eventually import eventually
from tests.support.server import SECONDS


def app_batches(client: Any, handler: str | None = "lives", **more: Any) -> Any:
    """`AppBatches` over a `Client`, `AsyncAppBatches` behind its face over an `AsyncClient`."""
    if isinstance(client, Blocking):
        return Blocking(AsyncAppBatches(client._target, handler, **more), client._loop)
    return AppBatches(client, handler, **more)


def bare(batches: Any) -> AppBatches | AsyncAppBatches:
    """The object itself."""
    return batches._target if isinstance(batches, Blocking) else batches


def listed(batches: Any) -> list[Any]:
    """From now on: the requests that it sends for lists of batches."""
    requests: list[Any] = []
    service = bare(batches)._connection.service
    sent: Callable[..., Any] = service.ListBatchTasks

    @functools.wraps(sent)
    def counted(request: Any, **more: Any) -> Any:
        copy = type(request)()
        copy.CopyFrom(request)
        requests.append(copy)
        return sent(request, **more)

    service.ListBatchTasks = counted
    return requests


def until(batches: Any, project: str, batch_id: str, status: str) -> None:
    """Return once a batch has that status."""
    eventually(lambda: batches.get_app_batch(project, batch_id).status == status, SECONDS)


def until_held(batches: Any, project: str, batch_id: str, gate: Path) -> None:
    """Return once an item of a batch is held back by a gate, and the server has said that it runs."""
    eventually(gate.with_suffix(".waited").exists, SECONDS)
    until(batches, project, batch_id, "PROCESSING")


def parameters(method: Callable[..., Any]) -> list[str]:
    """A method's parameters but self, as `name` or `name=default`; `*` before those that have to be named."""
    found: list[str] = []
    for parameter in list(inspect.signature(method).parameters.values())[1:]:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in found:
            found.append("*")
        star = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is inspect.Parameter.empty else f"={parameter.default!r}"
        found.append(f"{star}{parameter.name}{default}")
    return found
