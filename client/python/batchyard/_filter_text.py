"""How is a filter put together? Texts in quotes, whatever is in them; states, any of which will do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def quoted(text: str, *, prefix: bool = False) -> str:
    """Return a text as a literal of a filter, so that nothing in it is taken for more: `f"id = {quoted(name)}"`.

    Args:
        text: at most 4 KiB can be in a filter; the server refuses a NUL.
        prefix: what begins with the text is meant; for `=` and `!=`.
    """
    escaped = re.sub(r'([\\"*])', r"\\\1", text)
    return f'"{escaped}*"' if prefix else f'"{escaped}"'


def any_state(names: Iterable[str]) -> str:
    """Return the filter for these states, without parentheses; "" for none."""
    return " OR ".join(f"state = {name}" for name in names)
