"""Why can a store not be opened? One line each, for the person who starts the server."""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot be opened; the text says why in one line."""


class DirectoryLocked(StoreError):
    """Another server has the data directory."""


class NewerSchema(StoreError):
    """The data were written by a newer Batchyard."""


class DamagedStore(StoreError):
    """The file is not a readable Batchyard store; it is left untouched."""


class ForeignStore(StoreError):
    """The file is a database of another program."""


class LibraryTooOld(StoreError):
    """The SQLite library has faults that lose data."""
