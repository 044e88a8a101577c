"""grpcurl, the tool that many first meet a gRPC service with: it knows our messages by reflection only."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
from typing import Any

from tests.interop.serving import ROOT


def program() -> pathlib.Path:
    """The program: the one that GRPCURL names, else the one that `make long-grpcurl` builds."""
    found = pathlib.Path(os.environ.get("GRPCURL") or ROOT / ".tools" / "bin" / "grpcurl")
    assert found.exists(), f"{found} is missing; run: make long-grpcurl"
    return found


@dataclasses.dataclass(frozen=True)
class Grpcurl:
    """grpcurl pointed at one server.

    Attributes:
        program: The program.
        target: HOST:PORT of the server.
    """

    program: pathlib.Path
    target: str

    def run(
        self, *arguments: str, documents: str = "", options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run it with arguments after the target; `documents` is its standard input."""
        return subprocess.run(
            [str(self.program), "-plaintext", "-max-time", "60", *options, self.target, *arguments],
            input=documents,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def text(self, *arguments: str) -> str:
        """Standard output of a run that must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def call(self, method: str, *requests: Any) -> list[Any]:
        """Call a method with JSON requests, all on one standard input; return its JSON responses.

        Fields that are zero are shown too.
        """
        documents = "\n".join(json.dumps(request) for request in requests)
        done = self.run(method, documents=documents, options=("-emit-defaults", "-d", "@"))
        assert done.returncode == 0, done.stderr
        return _documents(done.stdout)

    def refused(self, method: str, request: Any) -> tuple[int, Any]:
        """Call a method that must fail; return grpcurl's exit code (64 + status code) and the status as JSON."""
        options = ("-format-error", "-d", json.dumps(request))
        done = self.run(method, options=options)
        assert done.returncode != 0, f"{method} succeeded: {done.stdout}"
        return done.returncode, json.loads(done.stderr)


def _documents(text: str) -> list[Any]:
    """JSON documents that stand one after the other."""
    decoder = json.JSONDecoder()
    found: list[Any] = []
    rest = text.lstrip()
    while rest:
        document, end = decoder.raw_decode(rest)
        found.append(document)
        rest = rest[end:].lstrip()
    return found
