-- The tables of Batchyard 0.1. Times are microseconds since 1970 UTC, 0 = not yet.

-- What is made once with the store: `secret` (key of the tokens), `server_id`.
CREATE TABLE meta (
  name TEXT PRIMARY KEY,
  value BLOB NOT NULL
) WITHOUT ROWID, STRICT;

-- One row a task; a deleted one stays (id_fold NULL) until its bytes are swept.
CREATE TABLE task (
  key INTEGER PRIMARY KEY,
  project TEXT NOT NULL,
  task_id TEXT NOT NULL,
  id_fold TEXT,                       -- task_id in lower case; NULL once deleted, which frees the id
  uid TEXT NOT NULL,
  operation TEXT NOT NULL,            -- id of the current generation's operation, '' once that was deleted
  handler TEXT NOT NULL,
  state INTEGER NOT NULL,
  create_us INTEGER NOT NULL,
  update_us INTEGER NOT NULL,
  transition_us INTEGER NOT NULL,
  start_us INTEGER NOT NULL,
  end_us INTEGER NOT NULL,
  stop_reason INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  total INTEGER NOT NULL,
  succeeded INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  cancelled INTEGER NOT NULL,
  record_timeout_us INTEGER NOT NULL,
  next_sequence INTEGER NOT NULL,
  next_epoch INTEGER NOT NULL,
  subtasks INTEGER NOT NULL,
  live_subtasks INTEGER NOT NULL,
  error BLOB NOT NULL,
  request_id TEXT,                    -- of the create
  parameters_size INTEGER NOT NULL,   -- the last bytes of the fixed part are the parameters
  fixed_size INTEGER NOT NULL,        -- so many first bytes of `info` never change; 0 = they are in task_fixed
  info BLOB NOT NULL                  -- serialized BatchTaskInfo, as lists send it
) STRICT;
CREATE UNIQUE INDEX task_by_id ON task (project, id_fold) WHERE id_fold IS NOT NULL;
CREATE INDEX task_by_time ON task (project, create_us DESC, task_id) WHERE id_fold IS NOT NULL;
CREATE INDEX task_live ON task (key) WHERE state IN (2, 3, 6);
CREATE INDEX task_deleted ON task (key) WHERE id_fold IS NULL;

-- Fixed parts that are too large to be written again with every change of the counts.
CREATE TABLE task_fixed (
  task_key INTEGER PRIMARY KEY,
  fixed BLOB NOT NULL
) STRICT;

-- One row a generation. key = task_key × 2^20 + generation, so a task's operations are neighbours without an index.
CREATE TABLE operation (
  key INTEGER PRIMARY KEY,
  operation_id TEXT NOT NULL,
  project TEXT NOT NULL,
  create_us INTEGER NOT NULL,
  hidden INTEGER NOT NULL,            -- 1 once it or its task was deleted: ids are never used again
  metadata BLOB NOT NULL,
  result BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX operation_by_id ON operation (operation_id);
CREATE INDEX operation_by_time ON operation (project, create_us DESC, operation_id DESC) WHERE hidden = 0;

-- Idempotent calls that were done. They are kept as long as their task, and 24 hours.
CREATE TABLE request (
  project TEXT NOT NULL,
  request_id TEXT NOT NULL,
  digest BLOB NOT NULL,
  task_key INTEGER NOT NULL,
  task_id TEXT NOT NULL,
  create_us INTEGER NOT NULL,
  made_task INTEGER NOT NULL,         -- 1 = the create: found by task.request_id, so it needs no entry in the index
  expire_us INTEGER,                  -- set when the task's bytes are gone
  PRIMARY KEY (project, request_id)
) WITHOUT ROWID, STRICT;
CREATE INDEX request_by_task ON request (task_key) WHERE made_task = 0;
CREATE INDEX request_expiring ON request (expire_us) WHERE expire_us IS NOT NULL;

-- Records that have an id of their own.
CREATE TABLE record_key (
  task_key INTEGER NOT NULL,
  record_id TEXT NOT NULL,
  idx INTEGER NOT NULL,
  PRIMARY KEY (task_key, record_id)
) WITHOUT ROWID, STRICT;

-- Consecutive records: a serialized RawInputs. id = task_key × 2^27 + index of the first record: a page less to write
-- for each create than with an index.
CREATE TABLE input_segment (
  id INTEGER PRIMARY KEY,
  count INTEGER NOT NULL,
  ids INTEGER NOT NULL,               -- 1 if a record in it has an id
  codec INTEGER NOT NULL,
  size INTEGER NOT NULL,              -- bytes before compression
  blob BLOB NOT NULL
) STRICT;

-- Outcomes in the order of their commits: a serialized RawRecordPage. They hold the completion numbers
-- first_sequence … first_sequence + count − 1 and indexes within [lo, hi); two segments may overlap in [lo, hi), but no
-- index is in two segments of a generation.
CREATE TABLE outcome_segment (
  id INTEGER PRIMARY KEY,
  task_key INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  first_sequence INTEGER NOT NULL,
  count INTEGER NOT NULL,
  lo INTEGER NOT NULL,
  hi INTEGER NOT NULL,
  failed_count INTEGER NOT NULL,
  codec INTEGER NOT NULL,
  size INTEGER NOT NULL,              -- bytes before compression
  ranges BLOB,                        -- the indexes as a set, packed ranges; NULL = all of [lo, hi)
  ordering BLOB,                      -- the index of each record, uint32 each; NULL = ascending
  failed BLOB,                        -- the indexes that failed, uint32 each; NULL = none
  blob BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX outcome_by_sequence ON outcome_segment (task_key, generation, first_sequence, count, size);
CREATE INDEX outcome_by_index ON outcome_segment (task_key, generation, lo, hi, count);
CREATE INDEX outcome_wide ON outcome_segment (task_key, generation, lo, hi, count) WHERE hi - lo > 4096;

-- Live leases and the indexes that are still open in them.
CREATE TABLE lease (
  task_key INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  worker TEXT NOT NULL,
  open BLOB NOT NULL,                 -- packed ranges
  PRIMARY KEY (task_key, epoch)
) WITHOUT ROWID, STRICT;

-- Executions that began and left no outcome.
CREATE TABLE attempt (
  task_key INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  begun INTEGER NOT NULL,
  lost INTEGER NOT NULL,
  PRIMARY KEY (task_key, generation, idx)
) WITHOUT ROWID, STRICT;

-- The first failures of a generation in the order of their commits.
CREATE TABLE failure (
  task_key INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  position INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  status BLOB NOT NULL,
  PRIMARY KEY (task_key, generation, position)
) WITHOUT ROWID, STRICT;
