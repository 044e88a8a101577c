-- How many tasks of a project are in each state, deleted ones left out. Changed with the tasks, never counted again.
CREATE TABLE task_count (
  project TEXT NOT NULL,
  state INTEGER NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (project, state)
) WITHOUT ROWID, STRICT;
INSERT INTO task_count SELECT project, state, count(*) FROM task WHERE id_fold IS NOT NULL GROUP BY project, state;
