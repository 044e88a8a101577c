"""The stubs of other languages against the server: a batch goes in and comes out the same.

`client/stubs.sh` generates and compiles them and then runs this; by itself it needs what that left behind.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import subprocess
from collections.abc import Iterator

import pytest

from tests.interop.serving import ROOT, SERVICE_CONFIG, serving

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

# Program and arguments of each language. gRPC for Go and C++ reads the service configuration and refuses a faulty one.
PROGRAMS: dict[str, tuple[list[str], list[str]]] = {
    "go": (["build/stubs/go/interop"], [str(SERVICE_CONFIG)]),
    "java": (
        ["java", "-cp", "client/java/target/classes:client/java/target/lib/*", "dev.batchyard.interop.Interop"],
        [],
    ),
    "typescript": (["node", "client/typescript/dist/interop.js"], []),
    "rust": (["client/rust/target/debug/examples/interop"], []),
    "cpp": (["client/cpp/build/interop"], [str(SERVICE_CONFIG)]),
}

# More than two of the programs' pages of 7, and every kind of JSON value; none may be changed on its way. Texts and
# null are in lists, since `echo` returns those as plain text and as no output.
RECORDS: list[object] = [
    *({"index": index, "square": index**2} for index in range(20)),
    True,
    ["", None],
    {"Grüße": "世界, 𝄞"},
    ['quote " backslash \\ newline \n tab \t'],
    9007199254740993,
    -0.125,
    [],
    {},
    [1, {"nested": [None, {"deep": [[]]}]}],
    ["x" * 100_000],
]


@dataclasses.dataclass(frozen=True)
class Transcript:
    """What a program printed."""

    listed: list[object]
    streamed: list[object]
    end: str
    error: str


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all languages."""
    with serving(tmp_path_factory.mktemp("stubs")) as address:
        yield address


@pytest.fixture(scope="module", params=PROGRAMS)
def transcript(request: pytest.FixtureRequest, target: str) -> Transcript:
    """What the program of one language printed."""
    command, arguments = PROGRAMS[request.param]
    needed = command[-1] if command[0] in {"node"} else command[0]
    assert "/" not in needed or pathlib.Path(ROOT, needed).exists(), f"{needed} is missing; run: make stubs"
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS)
    done = subprocess.run(
        [*command, target, *arguments],
        cwd=ROOT,
        input=lines.encode(),
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    *outputs, end, error = done.stdout.decode().split("\n")[:-1]
    read = [json.loads(output) for output in outputs]
    return Transcript(read[: len(read) // 2], read[len(read) // 2 :], end, error)


def exact(values: list[object]) -> list[str]:
    """JSON texts, since Python holds True, 1 and 1.0 for equal."""
    return [json.dumps(value, sort_keys=True) for value in values]


def test_listed_outputs_are_the_records(transcript: Transcript) -> None:
    assert exact(transcript.listed) == exact(RECORDS)


def test_streamed_outputs_are_the_records(transcript: Transcript) -> None:
    assert exact(transcript.streamed) == exact(RECORDS)


def test_operation_holds_the_final_task_and_its_counts(transcript: Transcript) -> None:
    assert transcript.end == f"SUCCEEDED {len(RECORDS)}"


def test_wrong_call_shows_code_reason_and_domain(transcript: Transcript) -> None:
    assert transcript.error == "5 RESOURCE_NOT_FOUND batchyard.dev"
