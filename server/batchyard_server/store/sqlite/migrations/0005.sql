-- Segments with failures, in both orders: who looks for what failed reads no others.
CREATE INDEX outcome_failed ON outcome_segment (task_key, generation, first_sequence, count, lo, hi, size, failed_count)
WHERE failed_count > 0;
CREATE INDEX outcome_failed_by_index ON outcome_segment (task_key, generation, lo, hi, count, failed_count)
WHERE failed_count > 0;

-- Exit code of a task with one record whose outcome has one; of those that have ended before this it is not known.
ALTER TABLE task ADD COLUMN exit_code INTEGER;
