"""Every Python example of client/README.md runs as it stands, against the real server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import process

README = Path(__file__).parents[2] / "client" / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with process(tmp_path_factory.mktemp("readme")) as server:
        yield server.target


def test_there_are_examples() -> None:
    assert len(BLOCKS) > 4


@pytest.mark.xdist_group("readme")
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_an_example(block: str, target: str) -> None:
    assert "Client()" in block
    exec(compile(block.replace("Client()", f'Client("{target}")'), str(README), "exec"), {"__name__": "example"})
