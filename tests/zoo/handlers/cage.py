"""One handler for the whole zoo: a record that names an animal lets it out, any other is a neighbour that succeeds."""

from __future__ import annotations

from typing import Any

import zoo  # beside the tests' other helpers; both folders are on the handler's path


def cage(record: dict[str, Any], context: Any) -> Any:
    """Runs {"animal": name, …} as `zoo` does, and everything else to its index."""
    animal = record.get("animal")
    return getattr(zoo, animal)(record, context) if animal else {"index": context.index}
