"""The Store on SQLite: one writer thread that commits in groups, a few readers, one file."""

from __future__ import annotations

from batchyard_server.store.sqlite.opening import open_sqlite
from batchyard_server.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore", "open_sqlite"]
