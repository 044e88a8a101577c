"""batchyard.v1.BatchTaskService: request bytes → checked values → engine → response bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from batchyard_server.codec import bulk as codec_bulk
from batchyard_server.codec import pages, queries, requests
from batchyard_server.codec.inputs import Append
from batchyard_server.engine import (
    append,
    artifacts,
    attempts,
    bulk,
    cancel,
    cancel_many,
    counts,
    create,
    delete,
    handlers,
    pause,
    reactivate,
    records,
    start,
    subtasks,
    tasks,
    update,
    watch_project,
    watch_task,
)
from batchyard_server.engine.deps import Deps
from batchyard_server.engine.watch_hub import Hub
from batchyard_server.rpc.interceptors.draining import Gate
from batchyard_server.rpc.interceptors.errors import Context, Messages, check_size
from batchyard_server.rpc.registry import Service

NAME = "batchyard.v1.BatchTaskService"


class BatchTasks:
    """The methods. Each answers serialized messages; what they raise is answered in interceptors/errors.py."""

    def __init__(self, deps: Deps, hub: Hub) -> None:
        self._deps = deps
        self._hub = hub
        self._streams = append.OpenStreams()
        self._cancels = cancel_many.Calls()

    def register(self, service: Service, gate: Gate) -> None:
        """Add every method; while draining `gate` refuses what changes or streams."""
        service.unary("CreateBatchTask", gate.unary(self.create_batch_task))
        service.unary("BatchCreateBatchTasks", gate.unary(self.batch_create_batch_tasks))
        service.bidi("AppendRecords", gate.bidi(self.append_records))
        service.unary("StartBatchTask", gate.unary(self.start_batch_task))
        service.unary("GetBatchTask", self.get_batch_task)
        service.unary("ListBatchTasks", self.list_batch_tasks)
        service.stream("StreamBatchTasks", gate.stream(self.stream_batch_tasks))
        service.unary("GetBatchTaskCounts", self.get_batch_task_counts)
        service.stream("WatchBatchTask", gate.stream(self.watch_batch_task))
        service.stream("WatchBatchTasks", gate.stream(self.watch_batch_tasks))
        service.unary("PauseBatchTask", gate.unary(self.pause_batch_task))
        service.unary("ResumeBatchTask", gate.unary(self.resume_batch_task))
        service.unary("UpdateBatchTask", gate.unary(self.update_batch_task))
        service.unary("ReactivateBatchTask", gate.unary(self.reactivate_batch_task))
        service.unary("CancelBatchTask", gate.unary(self.cancel_batch_task))
        service.unary("CancelBatchTasks", gate.unary(self.cancel_batch_tasks))
        service.unary("DeleteBatchTask", gate.unary(self.delete_batch_task))
        service.unary("ListSubtasks", self.list_subtasks)
        service.unary("GetRecord", self.get_record)
        service.unary("ListRecords", self.list_records)
        service.stream("StreamRecords", gate.stream(self.stream_records))
        service.unary("ListRecordAttempts", self.list_record_attempts)
        service.unary("ListArtifacts", self.list_artifacts)
        service.unary("GetArtifact", self.get_artifact)
        service.stream("ReadArtifact", gate.stream(self.read_artifact))
        service.unary("DeleteArtifact", gate.unary(self.delete_artifact))
        service.unary("GetHandler", self.get_handler)
        service.unary("ListHandlers", self.list_handlers)

    async def create_batch_task(self, raw: bytes, _context: Context) -> bytes:
        """CreateBatchTask."""
        return await create.create_task(self._deps, requests.create_task(raw))

    async def batch_create_batch_tasks(self, raw: bytes, _context: Context) -> bytes:
        """BatchCreateBatchTasks."""
        return await bulk.create_tasks(self._deps, codec_bulk.create_tasks(raw))

    async def append_records(self, raws: AsyncIterator[bytes], _context: Context) -> Messages:
        """AppendRecords."""
        async with aclosing(append.append_records(self._deps, self._streams, _appends(raws))) as indexes:
            async for next_index in indexes:
                yield pages.appended(next_index)

    async def start_batch_task(self, raw: bytes, _context: Context) -> bytes:
        """StartBatchTask."""
        return await start.start_task(self._deps, requests.start_task(raw))

    async def get_batch_task(self, raw: bytes, _context: Context) -> bytes:
        """GetBatchTask."""
        return await tasks.get_task(self._deps, queries.get_task(raw))

    async def list_batch_tasks(self, raw: bytes, _context: Context) -> bytes:
        """ListBatchTasks."""
        return await tasks.list_tasks(self._deps, queries.list_tasks(raw))

    def stream_batch_tasks(self, raw: bytes, _context: Context) -> Messages:
        """StreamBatchTasks."""
        return tasks.stream_tasks(self._deps, queries.stream_tasks(raw))

    async def get_batch_task_counts(self, raw: bytes, _context: Context) -> bytes:
        """GetBatchTaskCounts."""
        return await counts.get_task_counts(self._deps, queries.get_task_counts(raw))

    def watch_batch_task(self, raw: bytes, _context: Context) -> Messages:
        """WatchBatchTask."""
        return watch_task.watch_task(self._deps, self._hub, queries.watch_task(raw))

    def watch_batch_tasks(self, raw: bytes, _context: Context) -> Messages:
        """WatchBatchTasks."""
        return watch_project.watch_tasks(self._deps, self._hub, queries.watch_tasks(raw))

    async def pause_batch_task(self, raw: bytes, _context: Context) -> bytes:
        """PauseBatchTask."""
        return await pause.pause_task(self._deps, requests.pause_task(raw))

    async def resume_batch_task(self, raw: bytes, _context: Context) -> bytes:
        """ResumeBatchTask."""
        return await pause.resume_task(self._deps, requests.resume_task(raw))

    async def update_batch_task(self, raw: bytes, _context: Context) -> bytes:
        """UpdateBatchTask."""
        return await update.update_task(self._deps, requests.update_task(raw))

    async def reactivate_batch_task(self, raw: bytes, _context: Context) -> bytes:
        """ReactivateBatchTask."""
        return await reactivate.reactivate_task(self._deps, requests.reactivate_task(raw))

    async def cancel_batch_task(self, raw: bytes, _context: Context) -> bytes:
        """CancelBatchTask."""
        return await cancel.cancel_task(self._deps, requests.cancel_task(raw))

    async def cancel_batch_tasks(self, raw: bytes, _context: Context) -> bytes:
        """CancelBatchTasks."""
        return await cancel_many.cancel_tasks(self._deps, self._cancels, requests.cancel_tasks(raw))

    async def delete_batch_task(self, raw: bytes, _context: Context) -> bytes:
        """DeleteBatchTask."""
        await delete.delete_task(self._deps, requests.delete_task(raw))
        return pages.EMPTY

    async def list_subtasks(self, raw: bytes, _context: Context) -> bytes:
        """ListSubtasks."""
        return await subtasks.list_subtasks(self._deps, queries.list_subtasks(raw))

    async def get_record(self, raw: bytes, _context: Context) -> bytes:
        """GetRecord."""
        return await records.get_record(self._deps, queries.get_record(raw))

    async def list_records(self, raw: bytes, _context: Context) -> bytes:
        """ListRecords."""
        return await records.list_records(self._deps, queries.list_records(raw))

    def stream_records(self, raw: bytes, _context: Context) -> Messages:
        """StreamRecords."""
        return records.stream_records(self._deps, queries.stream_records(raw))

    async def list_record_attempts(self, raw: bytes, _context: Context) -> bytes:
        """ListRecordAttempts."""
        return await attempts.list_attempts(self._deps, queries.list_attempts(raw))

    async def list_artifacts(self, raw: bytes, _context: Context) -> bytes:
        """ListArtifacts."""
        return await artifacts.list_artifacts(self._deps, queries.list_artifacts(raw))

    async def get_artifact(self, raw: bytes, _context: Context) -> bytes:
        """GetArtifact."""
        return await artifacts.get_artifact(self._deps, queries.get_artifact(raw))

    def read_artifact(self, raw: bytes, _context: Context) -> Messages:
        """ReadArtifact."""
        return artifacts.read_artifact(self._deps, queries.read_artifact(raw))

    async def delete_artifact(self, raw: bytes, _context: Context) -> bytes:
        """DeleteArtifact."""
        await artifacts.delete_artifact(self._deps, requests.delete_artifact(raw))
        return pages.EMPTY

    async def get_handler(self, raw: bytes, _context: Context) -> bytes:
        """GetHandler."""
        return handlers.get_handler(self._deps, queries.get_handler(raw))

    async def list_handlers(self, raw: bytes, _context: Context) -> bytes:
        """ListHandlers."""
        return handlers.list_handlers(self._deps, queries.list_handlers(raw))


async def _appends(raws: AsyncIterator[bytes]) -> AsyncIterator[Append]:
    async for raw in raws:
        check_size(raw)
        message = requests.append_records(raw)
        del raw  # up to 4 MiB, which need not wait for the next one
        yield message
        del message
