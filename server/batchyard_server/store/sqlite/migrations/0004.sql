-- Artifacts, logs, …

-- Files that handlers left for records. Where one is, in the folder of its task: STAGE/IDX/PATH.
CREATE TABLE artifact (
  task_key INTEGER NOT NULL,
  idx INTEGER NOT NULL,
  path TEXT NOT NULL,
  generation INTEGER NOT NULL,        -- that of the outcome it came with
  stage TEXT NOT NULL,
  size INTEGER NOT NULL,
  crc32c INTEGER NOT NULL,
  sha256 BLOB NOT NULL,
  content_type TEXT NOT NULL,
  create_us INTEGER NOT NULL,
  PRIMARY KEY (task_key, idx, path)
) WITHOUT ROWID, STRICT;

-- What records wrote: beside their outcomes (one byte for the codec, then a serialized LoggedPage without records; NULL =
-- none of them wrote anything), and of executions that became no outcome.
ALTER TABLE outcome_segment ADD COLUMN logs BLOB;
CREATE INDEX outcome_logged ON outcome_segment (task_key, generation, lo, hi) WHERE logs IS NOT NULL;
ALTER TABLE record_attempt ADD COLUMN log BLOB;
CREATE INDEX attempt_logged ON record_attempt (task_key, idx) WHERE log IS NOT NULL;
