-- The whole life of a task: settings, generations, etag and expire_time, ended leases, retries.

ALTER TABLE task ADD COLUMN settings TEXT NOT NULL DEFAULT '';              -- JSON, see model/settings.py
ALTER TABLE task ADD COLUMN revision INTEGER NOT NULL DEFAULT 1;            -- of the configuration
ALTER TABLE task ADD COLUMN due_us INTEGER NOT NULL DEFAULT 0;              -- when time alone changes it
ALTER TABLE task ADD COLUMN base_generation INTEGER NOT NULL DEFAULT 1;     -- outcomes of this one on count
UPDATE task SET settings = json_object('record_timeout_us', record_timeout_us) WHERE record_timeout_us > 0;
ALTER TABLE task DROP COLUMN record_timeout_us;

-- What was there before is kept as long as if it had ended now: in whole seconds, for the bytes below.
UPDATE task SET due_us = (unixepoch() + CASE state WHEN 1 THEN 7 ELSE 30 END * 86400) * 1000000
WHERE state = 1 OR state >= 7;

-- The etag and expire_time of what is shown. An entry (0002.sql) is taken out of its frame and framed again.
UPDATE task SET info = substr(info,
  CASE
    WHEN substr(info, 2, 1) < x'80' THEN 3
    WHEN substr(info, 3, 1) < x'80' THEN 4
    ELSE 5
  END)
WHERE fixed_size > 0;
UPDATE task SET info = CAST(info || unhex(printf('d2010608%02x%02x%02x%02x%02x',
    due_us / 1000000 & 127 | 128, due_us / 1000000 >> 7 & 127 | 128, due_us / 1000000 >> 14 & 127 | 128,
    due_us / 1000000 >> 21 & 127 | 128, due_us / 1000000 >> 28)) AS BLOB)
WHERE due_us > 0;
UPDATE task SET info = CAST(info || unhex(printf('da01%02x', 4 + length(substr(uid, -12)))) || '"' || substr(uid, -12) || '-1"' AS BLOB);
UPDATE task SET info = CAST(unhex(
  CASE
    WHEN length(info) < 128 THEN printf('0a%02x', length(info))
    WHEN length(info) < 16384 THEN printf('0a%02x%02x', length(info) & 127 | 128, length(info) >> 7)
    ELSE printf('0a%02x%02x%02x', length(info) & 127 | 128, length(info) >> 7 & 127 | 128, length(info) >> 14)
  END) || info AS BLOB)
WHERE fixed_size > 0;

-- All that are not final: those that run or may, and drafts, which grow too old.
DROP INDEX task_live;
CREATE INDEX task_unfinished ON task (key) WHERE state < 7;
CREATE INDEX task_due ON task (due_us) WHERE due_us > 0;

-- The calls about a task that are to be forgotten some time after it: those that are known to be leave the index.
DROP INDEX request_by_task;
CREATE INDEX request_by_task ON request (task_key) WHERE made_task = 0 AND expire_us IS NULL;

-- Where a generation begins: see task.base_generation, and its first completion number.
ALTER TABLE operation ADD COLUMN base_generation INTEGER NOT NULL DEFAULT 1;
ALTER TABLE operation ADD COLUMN first_sequence INTEGER NOT NULL DEFAULT 0;
-- Of those after the first: a reader of records needs all of a task's, and the rows are large.
CREATE INDEX operation_by_generation ON operation (key, base_generation, first_sequence) WHERE key & 1048575 > 1;

-- Leases: also with what they were granted; of those that are there only what is open is known.
ALTER TABLE lease ADD COLUMN granted BLOB NOT NULL DEFAULT x'';
ALTER TABLE lease ADD COLUMN node TEXT NOT NULL DEFAULT '';
ALTER TABLE lease ADD COLUMN start_us INTEGER NOT NULL DEFAULT 0;
UPDATE lease SET granted = open;

-- Leases that ended: the last ones of a task, by epoch.
CREATE TABLE ended_lease (
  task_key INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  state INTEGER NOT NULL,             -- Subtask.State
  worker TEXT NOT NULL,
  node TEXT NOT NULL,
  start_us INTEGER NOT NULL,
  end_us INTEGER NOT NULL,
  exit_code INTEGER,                  -- NULL = not known, or none
  error BLOB NOT NULL,                -- serialized google.rpc.Status, empty = none
  ranges BLOB NOT NULL,               -- packed ranges
  PRIMARY KEY (task_key, epoch)
) WITHOUT ROWID, STRICT;

-- Records without an outcome that failed and are tried again.
ALTER TABLE attempt ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE attempt ADD COLUMN retry_us INTEGER NOT NULL DEFAULT 0;

-- Executions that ended without becoming an outcome: a serialized RecordAttempt.
CREATE TABLE record_attempt (
  task_key INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  info BLOB NOT NULL,
  PRIMARY KEY (task_key, idx, generation, attempt)
) WITHOUT ROWID, STRICT;
