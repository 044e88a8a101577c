"""Filters (AIP-160) and orders (AIP-132): text → syntax → typed tree, which drivers translate.

syntax.py  what was written, with positions     tables.py  which fields there are     check.py  what it means
order.py   order_by                             match.py   whether values match, without a store
"""

from __future__ import annotations

from batchyard_server.query.check import parse_filter
from batchyard_server.query.match import matcher, matches
from batchyard_server.query.order import parse_order
from batchyard_server.query.tables import OPERATIONS, RECORDS, TASKS, Table

__all__ = ["OPERATIONS", "RECORDS", "TASKS", "Table", "matcher", "matches", "parse_filter", "parse_order"]
