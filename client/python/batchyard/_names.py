"""Resource names: built from ids, taken apart into ids; and request ids that are made of others."""

from __future__ import annotations

import hashlib
import uuid


def project_name(project: str) -> str:
    """Return `projects/{project}` for an id or such a name."""
    return project if project.startswith("projects/") else f"projects/{project}"


def child_name(project: str, collection: str, value: str) -> str:
    """Return `projects/{project}/{collection}/{id}` for an id, or the value itself if it is a name already."""
    if not value:
        raise ValueError(f"an id or name of {collection} is needed, not an empty string")
    return value if "/" in value else f"{project_name(project)}/{collection}/{value}"


def derived_id(request_id: str, part: str) -> str:
    """Return the UUID4-shaped id of a further request of the same call: the same in every process that repeats it."""
    digest = hashlib.sha256(f"{request_id}/{part}".encode()).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def last_id(name: str) -> str:
    """Return the last segment of a name."""
    return name.rpartition("/")[2]
