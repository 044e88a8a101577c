"""What does a `python` handler get for each kind of payload, and what becomes of what it returns?"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import struct_pb2

from batchyard.v1.payload_pb2 import Payload
from batchyard.v1.record_pb2 import RecordInfo, RecordInput
from batchyard_server.model import limits
from tests.rpc.runs import ACT, HANDLERS, Server, json_value, message_payload, running

pytestmark = pytest.mark.xdist_group("outcomes-payloads")
TOML = ACT + "".join(
    f'[handlers.{name}]\nkind = "python"\ncallable = "looking:{name}"\npath = ["{HANDLERS}"]\n'
    for name in ("look", "spoil")
)
JSON_TYPES = (
    "", "application/json", "application/json;charset=utf-8", "APPLICATION/JSON ; v=1", "application/problem+json",
    "application/vnd.x.y+JSON; v=1", "image/x+json",
)  # fmt: skip
OTHER_TYPES = (
    "text/plain", "text/json", "application/jsonl", "application/json-seq", "image/svg+xml", "application/x+json+gzip",
    "json", "ä", "application/x; format=+json", " ",
)  # fmt: skip
BIG = 123456789012345678901234567890
TEXTS = (  # JSON text, and what it is in Python
    ('{"a": [1, 2.50, true, null, "\\u00e4"]}', {"a": [1, 2.5, True, None, "ä"]}),
    ("[]", []),
    (' "x"\n', "x"),
    ("7", 7),
    ("-0", 0),
    ("1.0", 1.0),
    ("1e2", 100.0),
    ("true", True),
    ("null", None),
    ('""', ""),
    (str(BIG), BIG),
    (f'{{"n":-{BIG},"m":[{BIG},1]}}', {"n": -BIG, "m": [BIG, 1]}),
    ("9007199254740993", 2**53 + 1),
    ("18446744073709551616", 2**64),
    ("-9223372036854775809", -(2**63) - 1),
    ('{"x": 1, "x": 2}', {"x": 2}),
)
VALUES = (  # JSON as grpcurl reads it, and what it is in Python
    ('{"a": [1, 2.5, true, null, "ä", {}, []]}', {"a": [1, 2.5, True, None, "ä", {}, []]}),
    ("3", 3),
    ("3.0", 3),
    ("-2", -2),
    ("0.5", 0.5),
    ("9007199254740992", 2**53),
    ("-9007199254740992", -(2**53)),
    ("9007199254740994", 2.0**53 + 2),
    ("1e300", 1e300),
    ('"3"', "3"),
    ('""', ""),
    ("true", True),
    ("null", None),
    ("{}", {}),
    ("[]", []),
    ('{"": {"": [[]]}}', {"": {"": [[]]}}),
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("payloads"), TOML, workers=1) as server:
        yield server


def tell(value: Any) -> list[str]:
    """As looking.tell says it."""
    return [type(value).__name__, repr(value)]


CASES: list[tuple[Payload, list[str]]] = [
    *((Payload(text=text, content_type=each), tell(value)) for text, value in TEXTS for each in JSON_TYPES),
    *((Payload(text=text, content_type=each), tell(text)) for text in ('{"a": 1}', "", "ä") for each in OTHER_TYPES),
    *((Payload(data=data, content_type=each), tell(data)) for data in (b'{"a": 1}', b"", b"\0\xff")
      for each in (*JSON_TYPES, *OTHER_TYPES)),
    *((json_value(text), tell(value)) for text, value in VALUES),
    (message_payload("example.com/never.Heard", b"\x08\x96\x01"), ["Any", "example.com/never.Heard", "089601"]),
    (message_payload("", b""), ["Any", "", ""]),
    (Payload(), tell(None)),
    (Payload(content_type="application/json"), tell(None)),
]  # fmt: skip


def test_the_content_type_alone_decides_what_the_handler_gets(server: Server) -> None:
    records = [RecordInput(record_id=f"r{i}", payload=payload) for i, (payload, _) in enumerate(CASES)]
    run = server.run("look", *records)
    for index, (said, (payload, wanted)) in enumerate(zip(run.outputs, CASES, strict=True)):
        assert said["record"] == wanted, payload
        assert said["context"] == [index, f"r{index}", 1, 1]
        assert run.records[index].input == payload
        assert run.records[index].record_id == f"r{index}"


def test_a_record_without_a_payload_is_none(server: Server) -> None:
    run = server.run("look", RecordInput(), RecordInput(record_id="x"))
    assert [each["record"] for each in run.outputs] == [tell(None)] * 2
    assert [each["context"] for each in run.outputs] == [[0, "", 1, 1], [1, "x", 1, 1]]
    assert not run.records[0].HasField("input")


def test_parameters_follow_the_same_rules(server: Server) -> None:
    for payload, wanted in CASES[::5]:
        run = server.run("look", 1, 2, parameters=payload)
        assert [each["parameters"] for each in run.outputs] == [wanted] * 2, payload
        assert run.info.parameters == payload


def test_a_task_without_parameters_has_none(server: Server) -> None:
    assert server.run("look", 1).outputs[0]["parameters"] == tell(None)


def test_every_record_gets_parameters_of_its_own(server: Server) -> None:
    assert server.run("spoil", *[1] * 5, parameters=[1, 2, BIG]).outputs == [2] * 5


def test_parameters_as_large_as_they_may_be(server: Server) -> None:
    text = "x" * (limits.PARAMETERS.maximum - 6)
    run = server.run("look", 1, parameters=Payload(text=json.dumps(text)))
    assert run.outputs[0]["parameters"] == tell(text)


def test_no_digit_is_lost(server: Server) -> None:
    """Whatever stands before and after them in the subtask, in numbers, strings and names."""
    random.seed(5)
    values: list[Any] = []
    for _ in range(400):
        number = random.randrange(-(10 ** random.randrange(1, 60)), 10 ** random.randrange(1, 60))
        digits = str(random.randrange(10**18, 10**40))
        shapes = (number, [number], {"n": number}, [digits], {digits: digits}, {"t": digits, "n": [1, number, 0.5]})
        values.append(random.choice(shapes))
    for indent in (None, 1):
        run = server.run("echo", *(Payload(text=json.dumps(value, indent=indent)) for value in values))
        assert run.outputs == values
    ids = [RecordInput(record_id=f"{i}{'1' * 40}", payload=Payload(text=str(BIG))) for i in range(3)]
    assert server.run("echo", *ids).outputs == [BIG] * 3


def test_a_value_as_deep_as_protobuf_takes(server: Server) -> None:
    payload = Payload()
    value, wanted = payload.json, "1"
    for _ in range(45):
        value, wanted = value.list_value.values.add(), f"[{wanted}]"
    value.number_value = 1
    assert server.run("echo", payload).only.output.text == wanted


def _any(value: Any) -> Payload:
    payload = Payload()
    payload.message.Pack(value)
    return payload


def text(value: str) -> Payload:
    return Payload(content_type="text/plain", text=value)


def data(value: bytes) -> Payload:
    return Payload(content_type="application/octet-stream", data=value)


OUTPUTS: dict[str, Payload | None] = {
    "object": Payload(text='{"a":[1,2.5,null,true,{"b":"ä"}]}'),
    "list": Payload(text='[1,"2"]'),
    "tuple": Payload(text="[1,[2]]"),
    "true": Payload(text="true"),
    "int": Payload(text="-7"),
    "zero": Payload(text="0"),
    "big int": Payload(text=f"-{10**40}"),
    "64 bits": Payload(text=f"[{2**63},{2**64 - 1},{2**64},{-(2**63) - 1}]"),
    "float": Payload(text="0.1"),
    "empty object": Payload(text="{}"),
    "empty list": Payload(text="[]"),
    "int keys": Payload(text=f'{{"1":"one","{2**70}":"many"}}'),
    "ordered": Payload(text='{"z":1,"a":2}'),
    "uuid": Payload(text='{"id":"00000000-0000-0000-0000-000000000001"}'),
    "enum": Payload(text='{"colour":"red"}'),
    "text": text("grün\n\u2028"),
    "empty text": text(""),
    "digits": text("12345678901234567890123"),
    "bytes": data(b"\x00\xff"),
    "empty bytes": data(b""),
    "bytearray": data(b"ab"),
    "memoryview": data(b"cd"),
    "none": None,
    "message": _any(struct_pb2.Value(string_value="x")),
    "any": message_payload("type.example.com/never.Heard", b"\x08\x01"),
}


def test_what_becomes_of_an_output(server: Server) -> None:
    run = server.run("act", *({"do": "give", "what": what} for what in OUTPUTS))
    for (what, wanted), record in zip(OUTPUTS.items(), run.records, strict=True):
        assert record.state == RecordInfo.SUCCEEDED, record
        assert not record.HasField("error")
        assert not record.HasField("exit_code")
        assert record.HasField("output") == (wanted is not None), what
        assert record.output == (wanted or Payload()), what
        assert record.output.WhichOneof("kind") == (wanted.WhichOneof("kind") if wanted else None)


ECHOED = (
    (Payload(text='{"a": 1}'), Payload(text='{"a":1}')),
    (Payload(text="a", content_type="text/csv"), text("a")),
    (Payload(data=b"\xff", content_type="image/png"), data(b"\xff")),
    (json_value("[1, 2]"), Payload(text="[1,2]")),
    (message_payload("type.example.com/x.Y", b"\x01"), message_payload("type.example.com/x.Y", b"\x01")),
    (Payload(), Payload()),
)


def test_what_goes_in_comes_out(server: Server) -> None:
    run = server.run("echo", *(payload for payload, _ in ECHOED))
    assert [each.output for each in run.records] == [wanted for _, wanted in ECHOED]


def test_an_input_as_large_as_it_may_be(server: Server) -> None:
    payload = Payload(content_type="text/plain", text="ä" * (limits.RECORD.maximum // 2 - 10))
    assert RecordInput(payload=payload).ByteSize() == limits.RECORD.maximum
    record = server.run("echo", payload).only
    assert record.output == record.input == payload
