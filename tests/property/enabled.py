"""Which rules are played? All that the server can do by now; what is not here is written, and waits for its part."""

from __future__ import annotations

ENABLED = frozenset(
    {
        # verbs
        "create",
        "append",
        "start",
        "cancel",
        "cancel_operation",
        "delete",
        "delete_operation",
        "wait",
        "records",
        "lists",
        "repeat",
        "reuse",
        # the world
        "work",
        "crash",
        "reap",
        "launcher",
        "advance",
        "restart",
        # what tasks ask for
        "record_timeout",
        "failure_policy",
        "pause",
        "resume",
        "reactivate",
        "update",
        "force",  # deletes of tasks that run
        "time",  # deadlines, retention, drafts, lifetime
        "retry",
        "priority",
        "parallel_count",
        "attempts",
    }
)
