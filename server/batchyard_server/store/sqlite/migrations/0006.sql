-- What a call about many tasks was answered: a serialized response. NULL = the answer is what its task is now.
ALTER TABLE request ADD COLUMN answer BLOB;
