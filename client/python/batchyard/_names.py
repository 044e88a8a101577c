"""Resource names: built from ids, taken apart into ids."""

from __future__ import annotations


def project_name(project: str) -> str:
    """Return `projects/{project}` for an id or such a name."""
    return project if project.startswith("projects/") else f"projects/{project}"


def child_name(project: str, collection: str, value: str) -> str:
    """Return `projects/{project}/{collection}/{id}` for an id, or the value itself if it is a name already."""
    if not value:
        raise ValueError(f"an id or name of {collection} is needed, not an empty string")
    return value if "/" in value else f"{project_name(project)}/{collection}/{value}"


def last_id(name: str) -> str:
    """Return the last segment of a name."""
    return name.rpartition("/")[2]
