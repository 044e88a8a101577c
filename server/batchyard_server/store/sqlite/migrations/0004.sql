-- Artifacts, logs, watches, many tasks at once.

-- Logs: what records wrote, beside their outcomes (one byte for the codec, then a serialized LoggedPage without records;
-- NULL = none of them wrote anything), and of executions that became no outcome.
ALTER TABLE outcome_segment ADD COLUMN logs BLOB;
CREATE INDEX outcome_logged ON outcome_segment (task_key, generation, lo, hi) WHERE logs IS NOT NULL;
ALTER TABLE record_attempt ADD COLUMN log BLOB;
CREATE INDEX attempt_logged ON record_attempt (task_key, idx) WHERE log IS NOT NULL;
