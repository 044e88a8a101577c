-- What tasks are found by, taken out of what they show (see codec/searched.py): a filter looks at columns alone.
ALTER TABLE task ADD COLUMN display_name TEXT NOT NULL DEFAULT '';
ALTER TABLE task ADD COLUMN labels TEXT NOT NULL DEFAULT '';             -- JSON, '' = none
ALTER TABLE task ADD COLUMN archived INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN priority_set INTEGER NOT NULL DEFAULT 0;     -- 1 = it was asked for, be it 0
ALTER TABLE task ADD COLUMN exit_code INTEGER;   -- of its only record; of a task that has ended before this it is not known

-- `searched` is given to the connection by migrate.py: a JSON array of the first five.
UPDATE task SET display_name = found ->> 0, labels = found ->> 1, archived = found ->> 2, priority = found ->> 3,
  priority_set = found ->> 4
FROM (
  SELECT key AS at, searched(fixed_size, info, (SELECT fixed FROM task_fixed WHERE task_key = task.key)) AS found
  FROM task WHERE id_fold IS NOT NULL
)
WHERE key = at;

-- One for each order, ties by id; and for those that are in a state, in order of their time. Those that have not ended
-- are found by their state.
CREATE INDEX task_by_name ON task (project, task_id) WHERE id_fold IS NOT NULL;
CREATE INDEX task_by_update ON task (project, update_us, task_id) WHERE id_fold IS NOT NULL;
CREATE INDEX task_by_end ON task (project, end_us, task_id) WHERE id_fold IS NOT NULL AND state >= 7;
CREATE INDEX task_by_display_name ON task (project, display_name, task_id) WHERE id_fold IS NOT NULL;
CREATE INDEX task_by_priority ON task (project, priority, task_id) WHERE id_fold IS NOT NULL;
CREATE INDEX task_by_state ON task (project, state, task_id) WHERE id_fold IS NOT NULL;
CREATE INDEX task_by_state_time ON task (project, state, create_us DESC, task_id) WHERE id_fold IS NOT NULL;

-- Segments with failures, in both orders: who looks for what failed reads no others.
CREATE INDEX outcome_failed ON outcome_segment (task_key, generation, first_sequence, count, lo, hi, size, failed_count)
WHERE failed_count > 0;
CREATE INDEX outcome_failed_by_index ON outcome_segment (task_key, generation, lo, hi, count, failed_count)
WHERE failed_count > 0;

-- What a call about many tasks was answered: a serialized response. NULL = the answer is what its task is now.
ALTER TABLE request ADD COLUMN answer BLOB;
