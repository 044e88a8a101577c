"""Does each record's log have what it wrote, all of it, in order, and nothing else?"""

from __future__ import annotations

import os
import pathlib
import re
import signal
from collections.abc import Callable, Iterator

import pytest

from batchyard_server.execution.log_file import LogFile
from batchyard_server.model import limits
from batchyard_worker import capture
from batchyard_worker.v1 import worker_pb2
from tests.support.eventually import eventually
from tests.unit.worker.fake_server import FakeServer, page

Start = Callable[..., FakeServer]
MOST = limits.LOG.maximum


# --------------------------------------------------------------------------------------------------- what is captured


def test_everything_in_the_order_in_which_it_was_written(start: Start) -> None:
    text = start("says").says(
        ["partial", "a "],
        ["os", "b "],
        ["print", "c"],
        ["log", "d"],
        ["child", "echo e; echo f >&2"],
        ["error", "g"],
        ["thread", "h"],
        ["buffer", "i\n"],
        ["debug", "j"],
        ["logging", "k"],
        ["partial", "l"],
    )
    assert text == "a b c\nWARNING d\ne\nf\ng\nh\ni\nDEBUG j\nk\nl"


def test_who_writes_nothing_has_no_log(start: Start) -> None:
    server = start("says")
    server.run(1, [[], [["print", "x"]], []])
    assert server.logs(1) == {1: "x\n"}
    server.run(2, [[]])
    flush = server.receive("outcomes")
    assert not flush.logged
    assert not worker_pb2.LoggedPage.FromString(flush.page).logs


def test_a_traceback_that_the_handler_logs(start: Start) -> None:
    text = start("says").says(["caught", "bad"])
    assert text is not None
    assert text.startswith("ERROR caught\nTraceback (most recent call last):\n")
    assert text.endswith("ValueError: bad\n")


def test_the_traceback_of_an_unexpected_exception(start: Start) -> None:
    text = start("says").says(["print", "before"], ["raise", "bad"])
    assert text is not None
    assert text.startswith("before\nTraceback (most recent call last):\n")
    assert text.endswith("ValueError: bad\n")
    assert "sample_handlers.py" in text
    assert "python_kind.py" not in text


def test_tracebacks_that_are_more_than_a_stack(start: Start) -> None:
    server = start("says")
    chained = server.says(["raise", "chained"])
    assert chained is not None
    assert chained.startswith("Traceback (most recent call last):\n")
    assert "KeyError: 'first'\n\nThe above exception was the direct cause of the following exception:\n\n" in chained
    assert chained.endswith("ValueError: then\n")
    syntax = server.says(["raise", "syntax"])
    assert syntax is not None
    assert re.search(r'File "there.py", line 1\n +a b\n +\^+\nSyntaxError: invalid syntax\n$', syntax)
    deep = server.says(["raise", "deep"])
    assert deep is not None
    assert "[Previous line repeated" in deep
    assert deep.endswith("RecursionError: maximum recursion depth exceeded\n")
    for text in (chained, syntax, deep):
        assert "python_kind.py" not in text


def test_a_record_error_is_no_news(start: Start) -> None:
    assert start("says").says(["raise", "record error"]) is None


@pytest.mark.parametrize("text", ["\0", "\0\0after", "ÿþ\0\1", "\0" * 5000])
def test_binary_and_what_begins_with_nul(start: Start, text: str) -> None:
    server = start("says")
    server.run(1, [[["os", text]], [["print", "next"]]] * 2, ranges=[0, 4])
    found = server.logs(1)
    written = text.encode("latin-1").decode("utf-8", "backslashreplace")
    assert "".join(found[index] for index in sorted(found)) == (written + "next\n") * 2


def test_what_begins_with_nul_is_known_to_be_of_a_slow_record(start: Start) -> None:
    server = start("says")
    server.run(1, [[["child", "printf '\\0'; echo a"]], [["print", "b"]], []])
    assert server.logs(1) == {0: "\0a\n", 1: "b\n"}


def test_who_appends_to_the_stream_by_its_name(start: Start) -> None:
    server = start("says")
    assert server.says(["child", "echo a >> /dev/stderr"], ["print", "b"]) == "b\na\n"
    assert server.says(["print", "c"]) == "c\n"
    assert server.says(["child", "echo d >> /dev/stdout"]) == "d\n"


def test_who_opens_the_stream_anew_is_refused(start: Start) -> None:
    server = start("says")
    server.run(1, [[["print", "a"], ["child", "echo b > /dev/stderr"], ["print", "c"]]])
    text = server.logs(1)[0]
    assert re.fullmatch(r"a\n.*/dev/stderr.*not permitted\nc\n", text)


def test_a_handler_may_silence_what_it_calls(start: Start) -> None:
    assert start("says").says(["print", "a"], ["redirected", "b"], ["print", "c"]) == "a\nc\n"


def test_what_loading_writes_is_of_no_record(start: Start, tmp_path: pathlib.Path) -> None:
    (tmp_path / "loud.py").write_text("print('loading')\ndef act(record, context):\n    print('acting')\n")
    server = start("loud:act", path=[str(tmp_path)])
    server.run(1, [0])
    assert server.logs(1) == {0: "acting\n"}


def test_what_a_failed_load_wrote_stays_for_the_server(start: Start, tmp_path: pathlib.Path) -> None:
    (tmp_path / "loud.py").write_text("print('no model here')\n1 / 0\n")
    server = start("loud:act", path=[str(tmp_path)])
    assert server.loaded.startswith("ZeroDivisionError")
    assert server.last_words() == "no model here\n"


def test_what_is_written_between_records_goes_to_the_next_one(start: Start, tmp_path: pathlib.Path) -> None:
    server, gate = start("says"), tmp_path / "gate"
    assert server.says(["later", str(gate)]) is None
    gate.touch()
    eventually(pathlib.Path(f"{gate}.done").exists)
    assert server.says(["print", "mine"]) == "from behind\nmine\n"


def test_the_standard_error_of_a_command(start: Start) -> None:
    server = start(kind="command", argv=["sh", "-c", "echo out; echo oops >&2; exit 3"])
    server.run(1, [0, 1])
    flush = server.receive("outcomes")
    logs = worker_pb2.LoggedPage.FromString(flush.page).logs
    assert [(each.index, each.text) for each in logs] == [(index, b"oops\n") for index in range(len(logs))]
    assert page(flush)[0].error.message == "exit code 3: oops"


# ---------------------------------------------------------------------------------------------------- who wrote what


def test_each_of_many_quick_records_has_its_own(start: Start) -> None:
    server = start("says")
    server.run(1, [[["print", f"record {index}"]] for index in range(1000)])
    assert server.logs(1) == {index: f"record {index}\n" for index in range(1000)}


def test_quiet_records_between_others_have_none(start: Start) -> None:
    server = start("says")
    server.run(1, [[["partial", str(index)]] if index % 3 == 0 else [] for index in range(900)], first=50)
    assert server.logs(1) == {50 + index: str(index) for index in range(0, 900, 3)}


def test_texts_of_many_sizes_cross_the_end_of_the_map(start: Start) -> None:
    server = start("says")
    counts = [1, 2000, 0, 7, 9000, 5000] * 30
    server.run(1, [[["lines", count]] for count in counts])
    found = server.logs(1)
    for index, count in enumerate(counts):
        assert found.get(index, "") == "".join(f"{index}: line {n}\n" for n in range(count))


def test_a_log_does_not_outgrow_the_shared_memory(start: Start) -> None:
    """The outcome and its log are larger than the rest of the block."""
    server = start("says")
    server.run(1, [[["partial", "x" * MOST]]] * 5)
    assert {index: len(text) for index, text in server.logs(1).items()} == dict.fromkeys(range(5), MOST)


# ---------------------------------------------------------------------------------------------------------- how much


def gap(text: str) -> int:
    """How many bytes a log says are missing."""
    (found,) = re.findall(r"\n\[\.\.\. (\d+) bytes are missing here \.\.\.\]\n", text)
    return int(found)


def test_of_too_much_head_and_tail_are_kept(start: Start) -> None:
    server = start("says")
    text = server.says(["print", "the beginning"], ["partial", "ä" * MOST], ["print", "the end"])
    assert text is not None
    assert text.startswith("the beginning\nää")
    assert text.endswith("ääthe end\n")
    assert len(text.encode()) <= MOST
    whole = len("the beginning\nthe end\n") + 2 * MOST
    shown = len(text.encode()) - len(re.search(r"\n\[.*\]\n", text)[0])  # pyright: ignore[reportOptionalSubscript]
    assert gap(text) == whole - shown
    assert server.says(["print", "after"]) == "after\n"


@pytest.mark.parametrize("most", [64, 65, 100, 999])
@pytest.mark.parametrize("character", ["x", "ä", "€", "\N{GRINNING FACE}"])
def test_a_cut_divides_no_character(character: str, most: int) -> None:
    whole = character * most * 2
    cut = capture.cut(whole.encode(), most).decode()
    assert len(cut.encode()) <= most
    kept = len(cut.encode()) - len(re.search(r"\n\[.*\]\n", cut)[0])  # pyright: ignore[reportOptionalSubscript]
    assert gap(cut) + kept == len(whole.encode())


def test_what_fits_is_not_cut() -> None:
    assert capture.cut(b"x" * 100, 100) == b"x" * 100
    assert len(capture.cut(b"\xff" * 1000, 100)) <= 100


@pytest.fixture
def log_file() -> Iterator[LogFile]:
    made = LogFile()
    yield made
    made.close()


def test_the_middle_of_what_is_written_without_end_is_given_back(log_file: LogFile) -> None:
    assert not log_file.trim(0)
    head, tail = b"head\n", b"tail\n"
    os.write(log_file.fd, head)
    most = 0
    for round_ in range(1, 21):
        os.write(log_file.fd, b"\n" * (8 << 20))
        assert log_file.trim(0)
        most = max(most, os.fstat(log_file.fd).st_blocks * 512)
        assert os.fstat(log_file.fd).st_size >= round_ * (8 << 20)
    os.write(log_file.fd, tail)
    assert most < 1 << 20
    text = log_file.read(0)
    assert text.startswith(head)
    assert text.endswith(tail)
    assert b"\0" not in text
    os.lseek(log_file.fd, 0, os.SEEK_SET)
    os.write(log_file.fd, b"x" * (6 << 20))
    assert log_file.trim(0)
    assert b"\0" not in log_file.read(0)


def test_what_is_written_while_nothing_runs_is_bounded(start: Start, tmp_path: pathlib.Path) -> None:
    server, done = start("says"), tmp_path / "done"
    server.says(["flood", str(done)])
    eventually(done.exists)
    eventually(lambda: os.fstat(server.log.fd).st_blocks * 512 < 4 << 20)
    text = server.says(["print", "mine"])
    assert text is not None
    assert text.endswith("xmine\n")
    assert gap(text) > 190_000_000
    assert "\0" not in text


# -------------------------------------------------------------------------------------------------------- last words


@pytest.mark.parametrize(("how", "number"), [("segv", signal.SIGSEGV), ("abort", signal.SIGABRT)])
def test_a_crash_leaves_what_its_record_wrote(start: Start, how: str, number: int) -> None:
    server = start("says")
    server.run(1, [[["print", "first"]], [["print", "second"], ["child", "echo third"], [how, ""]]])
    assert server.process.wait(timeout=20) == -number
    words = server.last_words()
    assert words.startswith("second\nthird\nFatal Python error: ")
    assert "sample_handlers.py" in words


def test_last_words_are_of_the_record_alone(start: Start, tmp_path: pathlib.Path) -> None:
    (tmp_path / "loud.py").write_text("import os\nprint('loading')\ndef act(record, context):\n    os.abort()\n")
    server = start("loud:act", path=[str(tmp_path)])
    server.run(1, [0])
    server.process.wait(timeout=20)
    assert server.last_words().startswith("Fatal Python error: Aborted")


def test_a_record_that_is_killed_leaves_what_it_wrote(start: Start, tmp_path: pathlib.Path) -> None:
    server, reached = start("says"), tmp_path / "reached"
    server.run(1, [[["print", "here"], ["child", f"touch {reached}"], ["wait", str(tmp_path / "never")]]])
    eventually(reached.exists)
    server.process.kill()
    server.process.wait(timeout=20)
    assert server.last_words() == "here\n"
