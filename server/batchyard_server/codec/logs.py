"""Which bytes are logs? Texts beside the outcomes of a flush, packed for the store, and put together for a reader."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from batchyard.v1.record_pb2 import RecordAttempt, RecordInfo
from batchyard_server.codec import segments
from batchyard_server.model import limits
from batchyard_server.model.artifact import NewArtifact
from batchyard_server.model.record import PastAttempt
from batchyard_server.model.task import Flush
from batchyard_worker import capture
from batchyard_worker.v1 import worker_pb2

Texts = Sequence[tuple[int, bytes]]
"""(index of a record, what it wrote)."""


def split(page: bytes) -> tuple[bytes, list[tuple[int, bytes]]]:
    """A LoggedPage of a worker as the serialized RawRecordPage of its records, and its logs.

    Raises:
        ValueError: That is not what it is.
    """
    records, texts = parse(page)
    return segments.join_page(records), texts


def parse(page: bytes) -> tuple[Sequence[bytes], list[tuple[int, bytes]]]:
    """The serialized RecordInfos of a LoggedPage, and its logs. Raises ValueError."""
    try:
        message = worker_pb2.LoggedPage.FromString(page)
    except DecodeError as error:
        raise ValueError(f"not a page of a worker: {error}") from None
    return message.records, [(each.index, each.text) for each in message.logs]


def only(texts: Texts, indexes: Container[int]) -> Texts:
    """Those of these records."""
    return [each for each in texts if each[0] in indexes] if texts else ()


def of_attempts(texts: Texts, indexes: Container[int]) -> dict[int, bytes]:
    """What is kept of those of these records, by index, whose executions became no outcome."""
    return {index: capture.cut(text, limits.ATTEMPT_LOG_BYTES) for index, text in texts if index in indexes}


def with_warnings(flush: Flush, warnings: Sequence[tuple[int, str]]) -> Flush:
    """The flush with these lines at the ends of its records' logs."""
    mine = [(index, text) for index, text in warnings if any(low <= index < high for low, high in flush.ranges)]
    if not mine:
        return flush
    texts = dict(flush.logs)
    for index, warning in mine:
        before = texts.get(index, b"")
        gap = b"\n" if before and not before.endswith(b"\n") else b""
        texts[index] = before + gap + f"WARNING batchyard: {warning}\n".encode("utf-8", "backslashreplace")
    return replace(flush, logs=sorted(texts.items()))


def any_long(texts: Texts) -> bool:
    """Whether one of them is too long for an outcome segment."""
    return any(len(text) > limits.SEGMENT_LOG_BYTES for _, text in texts)


def long_ones(texts: Texts, but: Container[int]) -> Texts:
    """Those, but for some indexes."""
    return [each for each in texts if len(each[1]) > limits.SEGMENT_LOG_BYTES and each[0] not in but]


def with_files(flush: Flush, files: Sequence[NewArtifact]) -> Flush:
    """The flush with these files in place of the logs that are in them, which become empty."""
    if not files:
        return flush
    kept = {each.index for each in files}
    artifacts = sorted((*flush.artifacts, *files), key=lambda each: (each.index, each.content.path))
    texts = [(index, b"" if index in kept else text) for index, text in flush.logs]
    return replace(flush, logs=texts, artifacts=artifacts)


def pack(texts: Iterable[tuple[int, bytes]]) -> bytes:
    """Texts as they are stored."""
    return worker_pb2.LoggedPage(
        logs=[worker_pb2.RecordLog(index=index, text=text) for index, text in texts]
    ).SerializeToString()


def unpack(stored: bytes) -> dict[int, bytes]:
    """The reverse of `pack`, by index."""
    return {each.index: each.text for each in worker_pb2.LoggedPage.FromString(stored).logs}


def sections(attempts: Sequence[PastAttempt], in_file: bytes = b"") -> tuple[bytes, int]:
    """The log of a record, a section for each of its executions in a generation, and when the last of them ended.

    Args:
        attempts: They, in order.
        in_file: What that one wrote whose log is in a file.
    """
    parts: list[bytes] = []
    ended_us = 0
    for each in attempts:
        text, attempt = in_file if each.log is None else each.log, RecordAttempt.FromString(each.info)
        ended_us = attempt.end_time.ToMicroseconds() or ended_us
        parts += [_header(attempt), text]
        if text and not text.endswith(b"\n"):
            parts.append(b"\n")
    return b"".join(parts), ended_us


def _header(attempt: RecordAttempt) -> bytes:
    began = f", {_moment(attempt.start_time)}" if attempt.HasField("start_time") else ""
    state = RecordInfo.State.Name(attempt.state)
    return f"== attempt {attempt.attempt} of generation {attempt.generation}{began}, {state} ==\n".encode()


def _moment(time: Timestamp) -> str:
    """RFC 3339, to the microsecond."""
    return Timestamp(seconds=time.seconds, nanos=time.nanos // 1000 * 1000).ToJsonString()
