"""The records that every system gets: distinct JSON objects of exactly 200 bytes, the same ones in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice

RECORD_BYTES = 200
# Members are in alphabetical order, no number is integral but `id`, and all is ASCII: so a record that went through
# any JSON library, or through google.protobuf.Value, can be brought back to the very same bytes.


def make(count: int, seed: int = 0) -> list[bytes]:
    """`count` distinct records of 200 bytes; those of other seeds are distinct from them too.

    Hexadecimal digits of a hash fill them up: zstd-1 brings 1024 of them to about a third, as it does much real data.
    """
    return [_record(seed * 100_000_000 + number) for number in range(count)]


def make_small(count: int) -> list[bytes]:
    """`count` distinct records of about 65 bytes, the shape that the target for streamed outcomes was set with."""
    return [_small(number) for number in range(count)]


def _record(number: int) -> bytes:
    score = (2 * (number % 9973) + 1) / 32
    tree = ("oak", "elm", "ash", "fir")[number % 4]
    head = f'{{"id":{number},"name":"item-{number:010d}","ok":true,"score":{score!r},"tags":["red","{tree}"],"text":"'
    digest = hashlib.blake2b(b"%d" % number).hexdigest()
    return (head + digest[: RECORD_BYTES - len(head) - 2] + '"}').encode()


def _small(number: int) -> bytes:
    score = (2 * (number % 9973) + 1) / 32
    return f'{{"id":{number},"name":"item-{number:06d}","ok":true,"score":{score!r},"t":"ab"}}'.encode()


def digest_of(records: Iterable[bytes]) -> str:
    """SHA-256 of all of them, one after the other."""
    total = hashlib.sha256()
    for chunk in chunks(records, 1024):
        total.update(b"".join(chunk))
    return total.hexdigest()


def chunks(records: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    """Cut into lists of at most `size`."""
    source = iter(records)
    while chunk := list(islice(source, size)):
        yield chunk
