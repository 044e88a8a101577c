"""The lease table: the live leases of a task and the indexes that are still open in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchyard_server.model import ranges as rg
from batchyard_server.store.sqlite.transaction import Entry, OpenLease, Row, Rows, Transaction

_INSERT = Rows(
    0,
    "INSERT INTO lease (task_key, epoch, generation, worker, node, start_us, granted, open) VALUES",
    "(?, ?, ?, ?, ?, ?, ?, ?)",
)
_LIVE = "SELECT epoch, generation, worker, node, start_us, granted, open FROM lease WHERE task_key = ?"
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
    found = {
        epoch: OpenLease(*plain, granted=rg.unpack(granted), open=rg.unpack(open_))
        for epoch, *plain, granted, open_ in tx.run(_LIVE, (held.task.key,))
    }
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
                *plain, granted, open_ = lease
                rows[_INSERT].append((key, epoch, *plain, rg.pack(granted), rg.pack(open_)))
            elif before != lease:
                rows[UPDATE].append((key, epoch, rg.pack(lease.open)))
        rows[DELETE] += [(key, epoch) for epoch in stored.leases.keys() - entry.leases.keys()]
    for statement, values in rows.items():
        statement.write(tx, values)
