"""A process of readers that do not read: `python -m tests.soak.readers TARGET TASK COUNT`.

Each has a connection of its own, takes the first message of StreamRecords and nothing more. Prints a line when all of
them have theirs, and ends with its standard input.
"""

from __future__ import annotations

import sys

import grpc

from batchyard.v1.batch_task_service_pb2 import StreamRecordsRequest
from batchyard.v1.batch_task_service_pb2_grpc import BatchTaskServiceStub

ALONE = (("grpc.use_local_subchannel_pool", 1),)


def main(target: str, task: str, count: int) -> None:
    channels = [grpc.insecure_channel(target, options=ALONE) for _ in range(count)]
    streams = [BatchTaskServiceStub(channel).StreamRecords(StreamRecordsRequest(parent=task)) for channel in channels]
    for stream in streams:
        assert next(stream).records
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
