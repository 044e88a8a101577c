"""The lease table: the live leases of a task and the indexes that are still open in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchyard_server.model import ranges as rg
from batchyard_server.store.sqlite.transaction import Entry, OpenLease, Row, Rows, Transaction

_INSERT = Rows(0, "INSERT INTO lease VALUES", "(?, ?, ?, ?, ?)")
UPDATE = Rows(
    0,
    "UPDATE lease SET open = v.column3 FROM (VALUES",
    "(?, ?, ?)",
    ") AS v WHERE task_key = v.column1 AND epoch = v.column2",
)
DELETE = Rows(0, "DELETE FROM lease WHERE (task_key, epoch) IN (VALUES", "(?, ?)", ")")


def of_task(tx: Transaction, held: Entry) -> Mapping[int, OpenLease]:
    """The live leases of the task, by epoch."""
    if held.leases is not None:
        return held.leases
    rows = tx.run("SELECT epoch, generation, worker, open FROM lease WHERE task_key = ?", (held.task.key,))
    found = {epoch: OpenLease(generation, worker, rg.unpack(open_)) for epoch, generation, worker, open_ in rows}
    tx.learn(held.task.key, held._replace(leases=found))
    return found


def update(tx: Transaction, pairs: Sequence[tuple[Entry, Entry]]) -> None:
    """Write the leases of tasks, (as stored, as they are to be), now. One that came and went is not written at all."""
    rows: dict[Rows, list[Row]] = {_INSERT: [], UPDATE: [], DELETE: []}
    for stored, entry in pairs:
        assert stored.leases is not None, "learnt before they were changed"
        assert entry.leases is not None, "known once they are"
        key = entry.task.key
        for epoch, lease in entry.leases.items():
            before = stored.leases.get(epoch)
            if before is None:
                rows[_INSERT].append((key, epoch, lease.generation, lease.worker, rg.pack(lease.open)))
            elif before != lease:
                rows[UPDATE].append((key, epoch, rg.pack(lease.open)))
        rows[DELETE] += [(key, epoch) for epoch in stored.leases.keys() - entry.leases.keys()]
    for statement, values in rows.items():
        statement.write(tx, values)
