-- A task's info is kept as an entry of a list's message (tag, length, BatchTaskInfo), so that a page of a list is the
-- entries one after the other. 0x0a: field 1, length-delimited.
UPDATE task SET info = CAST(unhex(
  CASE
    WHEN length(info) < 128 THEN printf('0a%02x', length(info))
    WHEN length(info) < 16384 THEN printf('0a%02x%02x', length(info) & 127 | 128, length(info) >> 7)
    ELSE printf('0a%02x%02x%02x', length(info) & 127 | 128, length(info) >> 7 & 127 | 128, length(info) >> 14)
  END) || info AS BLOB)
WHERE fixed_size > 0;

-- 1: info is the whole entry, and a living server adds nothing to it. One look at the least of a page tells.
ALTER TABLE task ADD COLUMN as_is INTEGER NOT NULL DEFAULT 0;
UPDATE task SET as_is = 1 WHERE fixed_size > 0 AND state NOT IN (2, 3, 6);
