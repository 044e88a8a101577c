"""Handlers that every server has."""

from __future__ import annotations

from batchyard_worker.builtin.audit import python_audit
from batchyard_worker.builtin.echo import echo

__all__ = ["echo", "python_audit"]
