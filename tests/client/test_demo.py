"""`make run` on a small library: the real server, the exit code, nothing left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from batchyard.demo.corpus import Corpus

GOOD = "class C:\n    def method(self):\n        return [n for n in range(3) if n]\n"
BAD = "def f(:\n"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    root = tmp_path / "library"
    (root / "site-packages").mkdir(parents=True)
    (root / "package").mkdir()
    for index in range(20):
        (root / "package" / f"module{index}.py").write_text(GOOD)
    (root / "site-packages" / "foreign.py").write_text(BAD)
    return root


def start(data: Path, library: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "batchyard.demo", "--data", str(data), "--library", str(library)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def servers(data: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if str(data) in line and "serve" in line:
            found.append(process.pid)
    return found


@pytest.mark.parametrize("broken", [True, False])
def test_it_ends_well(tmp_path: Path, library: Path, broken: bool) -> None:
    if broken:
        (library / "bad.py").write_text(BAD)
    process = start(tmp_path / "data", library)
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 0, out
    assert f"batchyard-server serve --data {tmp_path}/data" in out
    assert ("three broken ones were added" in out) == (not broken)
    assert f"Exactly the {1 if broken else 3} files failed" in out
    assert 'grpcurl -plaintext -d \'{"name": "projects/default/batchTasks/' in out
    assert "batchyard download thumbs" in out
    assert "records per second" in out
    assert "invalid syntax" in out if broken else "was never closed" in out
    assert (tmp_path / "data").is_dir()
    assert servers(tmp_path / "data") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_server_ends_with_it(tmp_path: Path, library: Path, number: signal.Signals) -> None:
    process = start(tmp_path / "data", library)
    assert process.stdout is not None
    assert "A server runs on" in process.stdout.readline()
    watched = [psutil.Process(pid) for pid in servers(tmp_path / "data")]
    assert watched
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode != 0
    _, alive = psutil.wait_procs(watched, timeout=30)
    assert alive == []


def test_a_server_that_does_not_start(tmp_path: Path, library: Path) -> None:
    (tmp_path / "data").write_text("a file, no directory")
    process = start(tmp_path / "data", library)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "the server did not start:" in out


def test_the_corpus(library: Path) -> None:
    (library / "large.py").write_bytes(b"#" * (1024 * 1024 + 1))
    corpus = Corpus(library)
    names = [record.record_id for record in corpus]
    assert names[:2] == ["package/module0.py", "package/module1.py"]
    assert names[20:] == ["broken/mixed_indentation.py", "broken/print_statement.py", "broken/unclosed_bracket.py"]
    assert set(corpus.must_fail) == set(names[20:])
    assert corpus.skipped == ["large.py"]
    assert corpus.count == 23
