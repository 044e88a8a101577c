-- Artifacts, …

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
