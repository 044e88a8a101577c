"""How does a text become part of a filter? In quotes, whatever is in it."""

from __future__ import annotations

import re


def quoted(text: str, *, prefix: bool = False) -> str:
    """Return a text as a literal of a filter, so that nothing in it is taken for more: `f"id = {quoted(name)}"`.

    Args:
        text: at most 4 KiB can be in a filter; the server refuses a NUL.
        prefix: what begins with the text is meant; for `=` and `!=`.
    """
    escaped = re.sub(r'([\\"*])', r"\\\1", text)
    return f'"{escaped}*"' if prefix else f'"{escaped}"'
