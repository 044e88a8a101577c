"""Are flags and environment understood, and refused with one clear line where they cannot be?"""

from __future__ import annotations

import os
import pathlib
import sys

import pytest

from batchyard_server import cli
from batchyard_server.config.settings import (
    Address,
    Config,
    ConfigError,
    check_exposure,
    parse_address,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("127.0.0.1:50151", Address(host="127.0.0.1", port=50151), True),
        ("127.9.9.9:1", Address(host="127.9.9.9", port=1), True),
        ("localhost:0", Address(host="localhost", port=0), True),
        ("[::1]:80", Address(host="::1", port=80), True),
        ("0.0.0.0:80", Address(host="0.0.0.0", port=80), False),
        ("[::]:80", Address(host="::", port=80), False),
        ("example.org:65535", Address(host="example.org", port=65535), False),
        ("localhost.example.org:1", Address(host="localhost.example.org", port=1), False),
    ],
)
def test_addresses(text: str, address: Address, loopback: bool) -> None:
    assert parse_address(text) == address
    assert str(address) == text
    assert address.is_loopback is loopback


@pytest.mark.parametrize("text", ["", "127.0.0.1", ":80", "localhost:", "localhost:x", "localhost:65536", "::1:80"])
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_address(text)


def test_durations() -> None:
    assert [parse_duration(each) for each in ("0s", "500ms", "1.5s", "2m", "1h")] == [0, 0.5, 1.5, 120, 3600]
    assert parse_duration("180d") == 180 * 86_400
    for text in ("", "5", "s", "-1s", "1 s", "1w", "1e3s"):
        with pytest.raises(ConfigError):
            parse_duration(text)


def test_beyond_loopback_only_if_asked_for() -> None:
    everywhere = Address(host="0.0.0.0", port=1)
    check_exposure(everywhere, insecure=True)
    check_exposure(Address(host="::1", port=1), insecure=False)
    with pytest.raises(ConfigError, match=r"refusing to listen on 0\.0\.0\.0:1") as caught:
        check_exposure(everywhere, insecure=False)
    assert "--insecure" in str(caught.value)
    assert "\n" not in str(caught.value)


def _config(*arguments: str, **environment: str) -> Config:
    return cli.make_config(cli.parser(environment).parse_args(["serve", *arguments]), environment)


def test_defaults() -> None:
    config = _config()
    assert config.data == pathlib.Path("batchyard-data")
    assert str(config.listen) == "127.0.0.1:50151"
    assert config.workers == os.cpu_count()
    assert config.drain_timeout_seconds == 30
    assert config.max_worker_lost == 2
    assert config.max_task_lifetime_seconds == 180 * 86_400
    assert sorted(config.handlers) == ["echo", "python_audit", "thumbnail"]


def test_every_flag_has_a_variable_and_wins_over_it(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "h.toml"
    file.write_text('[handlers.x]\nkind = "command"\nargv = ["x"]\n')
    variables = {
        "BATCHYARD_DATA": "/data",
        "BATCHYARD_LISTEN": "0.0.0.0:7",
        "BATCHYARD_HANDLERS": str(file),
        "BATCHYARD_WORKERS": "3",
        "BATCHYARD_INSECURE": "1",
        "BATCHYARD_DRAIN_TIMEOUT": "5s",
        "BATCHYARD_MAX_WORKER_LOST": "0",
        "BATCHYARD_MAX_TASK_LIFETIME": "2d",
    }
    config = _config(**variables)
    assert (config.data, str(config.listen), config.workers) == (pathlib.Path("/data"), "0.0.0.0:7", 3)
    assert (config.drain_timeout_seconds, config.max_worker_lost) == (5, 0)
    assert config.max_task_lifetime_seconds == 2 * 86_400
    assert "x" in config.handlers
    config = _config("--data", "d", "--listen", "localhost:1", "--workers", "1", "--drain-timeout", "1m", **variables)
    assert (config.data, str(config.listen), config.workers) == (pathlib.Path("d"), "localhost:1", 1)
    assert config.drain_timeout_seconds == 60


@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [
        (["--workers", "0"], {}, "--workers"),
        (["--workers", "many"], {}, "--workers"),
        (["--max-worker-lost", "-1"], {}, "--max-worker-lost"),
        (["--drain-timeout", "30"], {}, "duration"),
        (["--max-task-lifetime", "0s"], {}, "--max-task-lifetime"),
        (["--max-task-lifetime", "180"], {}, "duration"),
        (["--listen", "0.0.0.0:1"], {}, "refusing"),
        ([], {"BATCHYARD_LISTEN": "0.0.0.0:1"}, "refusing"),
        (["--listen", "0.0.0.0:1"], {"BATCHYARD_INSECURE": "0"}, "refusing"),
        ([], {"BATCHYARD_INSECURE": "perhaps"}, "BATCHYARD_INSECURE"),
        ([], {"BATCHYARD_FAILPOINTS": "nothing=kill"}, "BATCHYARD_FAILPOINTS"),
        (["--handlers", "/nowhere.toml"], {}, "/nowhere.toml"),
    ],
)
def test_what_cannot_be(arguments: list[str], environment: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        _config(*arguments, **environment)


def test_a_mistake_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--listen", "0.0.0.0:1"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("batchyard-server: refusing to listen")
    assert err.count("\n") == 1


def test_pythonpath_is_for_the_workers(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign, ours = tmp_path / "foreign", tmp_path / "ours"
    foreign.mkdir()
    (ours / "batchyard_server").mkdir(parents=True)
    (ours / "batchyard_server" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(foreign), str(ours), "/usr/lib/python3"])
    path = os.pathsep.join([str(foreign), str(ours), ""])
    assert cli.take_python_path({"PYTHONPATH": path}) == (str(foreign), str(ours))
    assert sys.path == [str(ours), "/usr/lib/python3"]
    assert cli.take_python_path({}) == ()
