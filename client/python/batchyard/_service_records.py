"""What are the records of a batch, given as a list, as columns or as a table? Rows, one for each record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast


def rows_of(records: object) -> list[Any]:
    """Return the records as a new list of rows.

    Args:
        records: an iterable of records; or a dict of columns, lists of equal length (or arrays with `tolist`); or a
            pandas DataFrame, known by its `to_dict(orient="records")`.

    Raises:
        ValueError: columns of unequal length.
        TypeError: none of these, or a column that is no list.
    """
    to_dict = getattr(records, "to_dict", None)
    if callable(to_dict):
        return list(cast("Iterable[Any]", to_dict(orient="records")))
    if isinstance(records, Mapping):
        return _rows_of_columns(cast("Mapping[Any, object]", records))
    if isinstance(records, (str, bytes)) or not isinstance(records, Iterable):
        raise TypeError(f"records must be a list, a dict of lists or a DataFrame, not {type(records).__name__}")
    return list(cast("Iterable[Any]", records))


def _rows_of_columns(columns: Mapping[Any, object]) -> list[Any]:
    values = {name: _column(name, given) for name, given in columns.items()}
    sizes = {name: len(column) for name, column in values.items()}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"columns of unequal length: {sizes}")
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _column(name: object, given: object) -> list[Any]:
    to_list = getattr(given, "tolist", None)
    if callable(to_list):  # an array: its numbers become Python's
        given = to_list()
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise TypeError(f"column {name!r} must be a list, not {type(given).__name__}")
    return list(cast("Sequence[Any]", given))
