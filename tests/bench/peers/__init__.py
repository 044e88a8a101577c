"""The same no-op as a task of other systems."""
