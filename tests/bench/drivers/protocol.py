"""How a driver is steered: it reads `{"command": …}` lines and answers each with one JSON line."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

Command = Callable[..., dict[str, Any]]


def serve(**commands: Command) -> None:
    """Answer commands until the input ends. The first line says that the driver is ready.

    Whatever else writes to the standard output goes to the log, so that a library's words cannot break the protocol.
    """
    with os.fdopen(os.dup(1), "w", buffering=1) as answers:
        os.dup2(2, 1)
        answers.write('{"ready": true}\n')
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = commands[request.pop("command")](**request)
            except Exception as error:  # noqa: BLE001 - the bench shows it and gives the row up
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {error}"[:600]}
            answers.write(json.dumps(answer) + "\n")
