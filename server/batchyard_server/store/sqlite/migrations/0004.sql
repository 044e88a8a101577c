-- How many tasks of a project are in each state, deleted ones left out. Changed with the tasks, never counted again.
CREATE TABLE task_count (
  project TEXT NOT NULL,
  state INTEGER NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (project, state)
) WITHOUT ROWID, STRICT;
INSERT INTO task_count SELECT project, state, count(*) FROM task WHERE id_fold IS NOT NULL GROUP BY project, state;

-- What happens to tasks, for those who watch: the last committed changes (see model/watch.py) in the order of their
-- commits. The columns by which rows are passed over come first, the large one last.
CREATE TABLE event (
  seq INTEGER PRIMARY KEY,            -- without gaps; the newest one is never removed, so none is given out twice
  project TEXT NOT NULL,
  task_key INTEGER NOT NULL,
  task_id TEXT NOT NULL,
  operation TEXT NOT NULL,
  generation INTEGER NOT NULL,
  change INTEGER NOT NULL,
  ends INTEGER NOT NULL,
  state INTEGER NOT NULL,
  total INTEGER NOT NULL,
  succeeded INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  cancelled INTEGER NOT NULL,
  first_sequence INTEGER NOT NULL,
  next_sequence INTEGER NOT NULL,
  create_us INTEGER NOT NULL,
  time_us INTEGER NOT NULL,
  error BLOB NOT NULL
) STRICT;

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
