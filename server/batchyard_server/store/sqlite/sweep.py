"""Where do the bytes of deleted tasks and old changes go? Removed in slices that hold the writer for milliseconds."""

# ruff: noqa: S608 - what is put into statements here are names of this module, never values of callers

from __future__ import annotations

from functools import partial

from batchyard_server.store.sqlite import inputs, operations, requests
from batchyard_server.store.sqlite.events import Log
from batchyard_server.store.sqlite.transaction import Row, Transaction

SLICE_NS = 10_000_000  # the commit takes as long again
KEPT_FREE_PAGES = 2048  # 16 MiB
_MOVED_PAGES = 64

# What a task owns: how its rows are found, and how many go at once: blobs of up to 256 KiB or 16 KiB, or narrow rows.
_OWNED = [
    ("outcome_segment", "id", 8),
    ("record_key", "(task_key, record_id)", 500),
    ("attempt", "(task_key, generation, idx)", 500),
    ("failure", "(task_key, generation, position)", 100),
    ("lease", "(task_key, epoch)", 100),
    ("ended_lease", "(task_key, epoch)", 100),
    ("record_attempt", "(task_key, idx, generation, attempt)", 100),
    ("artifact", "(task_key, idx, path)", 500),
]
_REMOVE = [
    f"DELETE FROM {table} WHERE {key} IN (SELECT {key.strip('()')} FROM {table} WHERE task_key = ? LIMIT {most})"
    for table, key, most in _OWNED
]
_REMOVE_INPUTS = "DELETE FROM input_segment WHERE id IN (SELECT id FROM input_segment WHERE id BETWEEN ? AND ? LIMIT 8)"
NEXT = "SELECT key FROM task WHERE id_fold IS NULL AND key > ? ORDER BY key LIMIT 1"


class Sweeper:
    """Remembers whether there is anything to remove, so that asking costs nothing when there is not."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._next_expiry_us: int | None = 0
        self._may_shrink = True

    def _again(self, tx: Transaction) -> None:
        tx.deleted = self._may_shrink = True

    def is_due(self, tx: Transaction) -> bool:
        """Whether a step is worth it. Cheap; may be called from another thread than the writer's."""
        expiry = self._next_expiry_us
        expired = expiry is not None and expiry <= tx.clock.now_us()
        return tx.deleted or self._may_shrink or expired or self._log.is_long

    def expect(self, expiry_us: int) -> None:
        """A call was remembered that is to be forgotten then."""
        if self._next_expiry_us is None:
            self._next_expiry_us = expiry_us

    def step(self, tx: Transaction) -> None:
        """Remove for some milliseconds."""
        deadline = tx.clock.monotonic_ns() + SLICE_NS
        tx.failpoints.hit("store.sweep")
        tx.on_undo(partial(self._again, tx))
        if self._log.is_long:
            self._log.trim(tx, deadline - SLICE_NS // 2)
        after = 0
        while rows := tx.run(NEXT, (after,)):
            after = rows[0][0]
            if not _remove(tx, after, deadline):
                return
        tx.deleted = False
        self._may_shrink = _shrink(tx, deadline - SLICE_NS // 2)  # what is moved is written once more by the commit
        _exhaust(tx, requests.FORGET, (tx.clock.now_us(),), deadline)
        self._next_expiry_us = requests.next_expiry_us(tx)


def _shrink(tx: Transaction, deadline: int) -> bool:
    """Give free pages back to the file system, but for some that new tasks will need; whether there are more.

    What was moved in the file leaves it with the next checkpoint.
    """
    while tx.clock.monotonic_ns() < deadline:
        pages, free = tx.run("PRAGMA page_count")[0][0], tx.run("PRAGMA freelist_count")[0][0]
        if free <= max(KEPT_FREE_PAGES, pages // 4):
            return False
        tx.run(f"PRAGMA incremental_vacuum({_MOVED_PAGES})")
    return True


def _remove(tx: Transaction, key: int, deadline: int) -> bool:
    """Remove what the task owns and at last its row; False if the time was over before."""
    parts = [(_REMOVE_INPUTS, inputs.ids_of(key)), (operations.REMOVE, operations.keys_of(key))]
    parts += [(statement, (key,)) for statement in (*_REMOVE, requests.LET_EXPIRE)]
    if not all(_exhaust(tx, statement, values, deadline) for statement, values in parts):
        return False
    tx.run(requests.LET_CREATE_EXPIRE, (key,))
    tx.run("DELETE FROM task_fixed WHERE task_key = ?", (key,))
    # The row with the highest key stays: it keeps that key from being given out again after a restart.
    tx.run("DELETE FROM task WHERE key = ? AND key < (SELECT max(key) FROM task)", (key,))
    return tx.clock.monotonic_ns() < deadline


def _exhaust(tx: Transaction, statement: str, values: Row, deadline: int) -> bool:
    """Run a statement, which changes some rows at a time, until it changes none; False if the time was over before."""
    while True:
        tx.run(statement, values)
        if not tx.connection.changes():
            return True
        if tx.clock.monotonic_ns() >= deadline:
            return False
