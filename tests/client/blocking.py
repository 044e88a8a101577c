"""The asynchronous client behind the synchronous one's face, so that one test body checks both."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator
from typing import Any

from batchyard import AsyncClient
from batchyard._aio.batch import AsyncBatch
from batchyard._aio.handlers import AsyncHandlers
from batchyard._aio.many import AsyncSubmission
from batchyard._aio.operation import AsyncOperationHandle, AsyncOperations
from batchyard._aio.result import AsyncRecordReader

_WRAPPED = (
    *(AsyncClient, AsyncBatch, AsyncHandlers, AsyncOperations),
    *(AsyncOperationHandle, AsyncRecordReader, AsyncSubmission),
)


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, awaitable: Any) -> Any:
        async def awaited() -> Any:
            return await awaitable

        return asyncio.run_coroutine_threadsafe(awaited(), self._loop).result(60)

    def close(self) -> None:
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Blocking:
    """Wraps an object of the asynchronous client; every method waits."""

    def __init__(self, target: Any, loop: Loop) -> None:
        self.__dict__.update(_target=target, _loop=loop)

    def __getattr__(self, name: str) -> Any:
        return self._seen(getattr(self._target, name))

    def __repr__(self) -> str:
        return repr(self._target)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Blocking) and self._target == other._target

    def _seen(self, value: Any) -> Any:
        if isinstance(value, _WRAPPED):
            return Blocking(value, self._loop)
        if not inspect.ismethod(value):
            return value

        def call(*args: Any, **kwargs: Any) -> Any:
            async def made() -> Any:  # on the loop: grpc.aio wants its calls made there
                result = value(*args, **kwargs)
                return await result if inspect.isawaitable(result) and not isinstance(result, _WRAPPED) else result

            try:
                result = self._loop.run(made())
            except Exception as error:
                if hasattr(error, "partial"):
                    error.partial = Blocking(error.partial, self._loop)
                raise
            return self._drain(result) if inspect.isasyncgen(result) else self._seen(result)

        return call

    def _drain(self, generator: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    value = self._loop.run(anext(generator))
                except StopAsyncIteration:
                    return
                yield self._seen(value)
        finally:
            self._loop.run(generator.aclose())
