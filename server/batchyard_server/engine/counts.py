"""GetBatchTaskCounts."""

from __future__ import annotations

from batchyard_server.codec import pages
from batchyard_server.engine.deps import Deps


async def get_task_counts(deps: Deps, project: str) -> bytes:
    """Serialized BatchTaskCounts; of a project that nobody used all zeros."""
    return pages.task_counts(project, await deps.store.task_counts(project))
