"""`python -m batchyard_server`."""

from __future__ import annotations

import sys

from batchyard_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
