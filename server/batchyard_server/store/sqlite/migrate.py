"""Is the schema the one this server knows? Moves it forward, one transaction a step; never back."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib import resources

import apsw

from batchyard_server.codec import pages
from batchyard_server.codec.searched import searched
from batchyard_server.model.failpoints import Failpoints
from batchyard_server.store.errors import NewerSchema

APPLICATION_ID = 0x42595244  # "BYRD" in the file's header: this database is ours


def steps() -> list[str]:
    """The SQL of every step, in order; step n makes schema version n."""
    folder = resources.files("batchyard_server.store.sqlite") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    assert names == [f"{number:04}.sql" for number in range(1, len(names) + 1)], names
    return [(folder / name).read_text(encoding="utf-8") for name in names]


def migrate(connection: apsw.Connection, failpoints: Failpoints) -> None:
    """Bring the schema to the newest version. A step that fails leaves the version before it. Raises NewerSchema."""
    version = connection.pragma("user_version")
    known = steps()
    connection.create_scalar_function("searched", _searched, 3, deterministic=True)
    if version > len(known):
        raise NewerSchema(
            f"the data have schema version {version}, this server knows {len(known)}: use the newer server again"
        )
    for number, sql in enumerate(known[version:], start=version + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(sql)
            failpoints.hit("store.migrate")
            connection.pragma("user_version", number)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


@lru_cache(maxsize=1)  # a statement may ask for each part of it
def _searched(fixed_size: int, info: bytes, apart: bytes | None) -> str:
    """What a stored task is found by: `codec.searched.Searched` as JSON."""
    fixed = pages.info_of(info)[:fixed_size] if apart is None else apart
    return json.dumps([int(each) if isinstance(each, bool) else each for each in searched(fixed)])
