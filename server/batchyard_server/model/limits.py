"""How large may it be? Every bound of the API, in one table that tests walk (each bound passes, bound + 1 does not)."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One bound: `field` is the path that BadRequest names, `maximum` is still allowed, in `unit`."""

    field: str
    maximum: int
    unit: str
    minimum: int = 0


REQUEST = Limit(field="", maximum=4 * MIB, unit="bytes")  # gRPC's own default receive limit, so every client agrees
ID = Limit(field="batch_task_id", maximum=64, unit="bytes", minimum=1)
PROJECT_ID = Limit(field="parent", maximum=64, unit="bytes", minimum=1)
DISPLAY_NAME = Limit(field="batch_task.display_name", maximum=256, unit="bytes")
LABELS = Limit(field="batch_task.labels", maximum=64, unit="entries")
LABEL_KEY = Limit(field="batch_task.labels", maximum=63, unit="bytes", minimum=1)
LABEL_VALUE = Limit(field="batch_task.labels", maximum=256, unit="bytes")
PARAMETERS = Limit(field="batch_task.parameters", maximum=256 * KIB, unit="bytes")
RECORD_TIMEOUT = Limit(
    field="batch_task.constraints.record_timeout", minimum=1_000, maximum=180 * 86_400 * 1_000_000, unit="microseconds"
)
MAX_WALL_CLOCK_TIME = Limit(
    field="batch_task.constraints.max_wall_clock_time",
    minimum=1_000,
    maximum=180 * 86_400 * 1_000_000,
    unit="microseconds",
)
RETENTION_TIME = Limit(
    field="batch_task.constraints.retention_time", maximum=3650 * 86_400 * 1_000_000, unit="microseconds"
)
MAX_RETRY_COUNT = Limit(field="batch_task.constraints.max_retry_count", minimum=-1, maximum=1_000_000, unit="retries")
INITIAL_BACKOFF = Limit(
    field="batch_task.retry_policy.initial_backoff", maximum=86_400 * 1_000_000, unit="microseconds"
)
MAX_BACKOFF = Limit(field="batch_task.retry_policy.max_backoff", maximum=86_400 * 1_000_000, unit="microseconds")
MULTIPLIER = Limit(field="batch_task.retry_policy.multiplier", minimum=1, maximum=100, unit="times")
RETRYABLE_CODES = Limit(field="batch_task.retry_policy.retryable_codes", maximum=16, unit="entries")
RETRYABLE_CODE = Limit(field="batch_task.retry_policy.retryable_codes", minimum=1, maximum=16, unit="codes")
MAX_FAILED_RECORDS = Limit(field="batch_task.failure_policy.max_failed_records", maximum=2**63 - 1, unit="records")
PRIORITY = Limit(field="batch_task.priority", minimum=-1000, maximum=1000, unit="priority")
PARALLEL_COUNT = Limit(field="batch_task.parallel_count", minimum=1, maximum=1_000_000, unit="records")
RECORD_ID = Limit(field="records.record_id", maximum=256, unit="bytes")
CONTENT_TYPE = Limit(field="records.payload.content_type", maximum=255, unit="bytes")
RECORD = Limit(field="records", maximum=MIB, unit="bytes")
RECORDS = Limit(field="records", maximum=100_000_000, unit="records")
BATCH_CREATE = Limit(field="requests", maximum=1000, unit="requests", minimum=1)
ARTIFACT_PATH = Limit(field="name", maximum=KIB, unit="bytes", minimum=1)
ARTIFACT_PREFIX = Limit(field="prefix", maximum=KIB, unit="bytes")
FILTER = Limit(field="filter", maximum=4 * KIB, unit="bytes")
FILTER_TERMS = Limit(field="filter", maximum=64, unit="comparisons")
REASON = Limit(field="reason", maximum=KIB, unit="bytes")
OUTPUT = Limit(field="output", maximum=MIB, unit="bytes")
ERROR = Limit(field="error", maximum=16 * KIB, unit="bytes")
LOG = Limit(field="log", maximum=256 * KIB, unit="bytes")  # of one execution; of more head and tail are kept
PAGE_SIZE = Limit(field="page_size", maximum=1000, unit="items")  # larger values are lowered to it (AIP-158)
STREAM_PAGE_SIZE = Limit(field="page_size", maximum=4096, unit="items")  # of one message of a stream; also the default

DEFAULT_PAGE_SIZE = 100
UNARY_PAGE_BYTES = 3_670_016  # 3.5 MiB: leaves room below the 4 MiB that default clients accept
STREAM_PAGE_BYTES = 384 * KIB  # what a stream may hold in memory for a client that stopped reading, twice
FIRST_STREAM_PAGE_BYTES = 32 * KIB  # each message may be twice the one before: who never reads costs little
RECORDS_TAIL_BYTES = 128  # of a page of records: room for its tokens
SUBTASKS_TAIL_BYTES = 128  # of a page of subtasks: room for its token
WATCH_TAIL_BYTES = 512  # of a message with outcomes: room for its names, its time and its token
TASKS_TAIL_BYTES = 8 * KIB  # of a page of tasks: room for its framing, its token, and what is added to live tasks

FILTER_DEPTH = 32  # levels of parentheses and NOT in a filter
EXAMINED_TASKS = 50_000  # tasks that are looked at for one page of a list
EXAMINED_OPERATIONS = 50_000  # operations that are looked at for one page of a list
JUDGED_OPERATIONS = 5_000  # of them, that are read for that
EXAMINED_RECORDS = 50_000  # records that are looked at for one page of a list
CANCELLED_TASKS = 1000  # that one CancelBatchTasks stops
CANCELLED_NAMES = 100  # of them, that its answer has
FAILED_REQUESTS = 100  # entries of BatchTaskMetadata.failed_requests
FAILED_REQUESTS_BYTES = 64 * KIB
WAIT_SECONDS = 60.0  # longest WaitOperation
WAIT_MARGIN_SECONDS = 0.2  # answer this much before the caller's deadline, else it sees DEADLINE_EXCEEDED
REQUEST_ID_HOURS = 24
ENDED_SUBTASKS = 10_000  # of a task, kept for ListSubtasks: those of the highest epochs
RECORD_ATTEMPTS = 100  # of a record, kept for ListRecordAttempts
EVENTS = 200_000  # changes of all tasks, kept for those who watch: the last ones
WATCH_PAGE_TASKS = 64  # tasks that a watch of a project reads at once for their snapshots
WATCH_PAGE_BYTES = 1 * MIB  # of them, about
LOG_PAGE_BYTES = 8 * MIB  # of logs that one page of ListArtifacts looks into
SEGMENT_LOG_BYTES = 4 * KIB  # of a log that is kept beside its outcome; a longer one has a file
ATTEMPT_LOG_BYTES = 4 * KIB  # of the log of an execution that became no outcome; of more head and tail are kept

ARTIFACT_SEGMENT_BYTES = 255  # of one segment of a path: what file systems take
ARTIFACT_FILES = 1000  # of a record; what comes after them by name is removed
ARTIFACT_BYTES = 5 * 1024 * MIB  # of one file
ARTIFACTS_BYTES = 10 * 1024 * MIB  # of all files of a record
ARTIFACT_ENTRIES = 10_000  # files, folders and all else that is looked at of a record
ARTIFACT_ROWS = 10_000  # of a list that are looked at for one page
ARTIFACT_CHUNK_BYTES = 64 * KIB  # of one message of ReadArtifact

SEGMENT_RECORDS = 1024  # records of one input segment
SEGMENT_BYTES = 256 * KIB  # bytes of one segment, input or outcome, before compression
OUTCOME_SEGMENT_RECORDS = 512
