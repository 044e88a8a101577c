"""What an operator may register for commands with an environment: runs `command_line` with `environment_settings`."""

from __future__ import annotations

import json
import os
import sys

record = json.load(sys.stdin)
os.execve("/bin/sh", ["sh", "-c", record["command_line"]], os.environ | record.get("environment_settings", {}))
