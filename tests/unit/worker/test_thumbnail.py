"""Does the handler `thumbnail` make small copies of images, and refuse what is none in plain words?"""

from __future__ import annotations

import os
import pathlib
import struct
import tracemalloc
import zlib
from typing import Any

import pytest
from PIL import Image

from batchyard_worker import RecordError
from batchyard_worker.builtin.thumbnail import MAX_PIXELS, thumbnail
from batchyard_worker.context import Common, Context
from batchyard_worker.stage import Stage


@pytest.fixture
def context(tmp_path: pathlib.Path) -> Context:
    return Context(3, "", 1, 1, Common(None, Stage(os.fsencode(tmp_path / "stage"))))


def saved(folder: pathlib.Path, name: str, size: tuple[int, int] = (600, 300), mode: str = "RGB", **how: Any) -> str:
    """An image file with a gradient; its path."""
    image = Image.linear_gradient("L").resize(size).convert(mode)
    image.save(folder / name, **how)
    return str(folder / name)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.webp", "a.bmp", "a.tiff", "a.ppm"])
def test_every_format(context: Context, tmp_path: pathlib.Path, name: str) -> None:
    made = thumbnail({"path": saved(tmp_path, name), "size": 60}, context)
    assert (made["width"], made["height"]) == (60, 30)
    assert (made["source"]["width"], made["source"]["height"]) == (600, 300)
    assert made["artifact"] in ("thumbnail.jpg", "thumbnail.png")
    with Image.open(context.artifacts_dir / made["artifact"]) as image:
        assert image.size == (60, 30)


@pytest.mark.parametrize(
    ("mode", "artifact"),
    [
        *(("RGBA", "thumbnail.png"), ("LA", "thumbnail.png"), ("RGB", "thumbnail.jpg"), ("L", "thumbnail.jpg")),
        *(("P", "thumbnail.jpg"), ("1", "thumbnail.jpg")),
    ],
)
def test_transparency_is_kept(context: Context, tmp_path: pathlib.Path, mode: str, artifact: str) -> None:
    assert thumbnail({"path": saved(tmp_path, "a.png", mode=mode)}, context)["artifact"] == artifact


def test_a_transparent_colour_is_kept(context: Context, tmp_path: pathlib.Path) -> None:
    path = saved(tmp_path, "a.gif", mode="P", transparency=0)
    assert thumbnail({"path": path}, context)["artifact"] == "thumbnail.png"


def test_sixteen_bits_of_grey(context: Context, tmp_path: pathlib.Path) -> None:
    Image.new("I;16", (10, 10), 32768).save(tmp_path / "grey.png")
    thumbnail({"path": str(tmp_path / "grey.png")}, context)
    with Image.open(context.artifacts_dir / "thumbnail.jpg") as image:
        assert image.getpixel((5, 5)) == (128, 128, 128)


def test_a_print_in_colours_of_ink(context: Context, tmp_path: pathlib.Path) -> None:
    assert thumbnail({"path": saved(tmp_path, "a.jpg", mode="CMYK")}, context)["artifact"] == "thumbnail.jpg"


def test_a_photograph_is_turned_upright(context: Context, tmp_path: pathlib.Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    made = thumbnail({"path": saved(tmp_path, "a.jpg", exif=exif), "size": 60}, context)
    assert (made["width"], made["height"]) == (30, 60)


def test_nothing_is_made_larger(context: Context, tmp_path: pathlib.Path) -> None:
    made = thumbnail({"path": saved(tmp_path, "a.png", (20, 10))}, context)
    assert (made["width"], made["height"]) == (20, 10)


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [None, 1, "a.png", {}, {"path": 1}, {"path": ""}]
    + [{"path": "a.png", "size": size} for size in (0, -1, 4097, 1.5, "10", True, None)],
)
def test_a_record_that_is_not_like_that(context: Context, tmp_path: pathlib.Path, record: Any) -> None:
    refused(record, context, tmp_path, "INVALID_ARGUMENT")


def refused(record: Any, context: Context, tmp_path: pathlib.Path, code: str) -> str:
    """Why it is; it must be for this code, never be tried again, and leave nothing."""
    with pytest.raises(RecordError) as caught:
        thumbnail(record, context)
    assert (caught.value.code, caught.value.retryable) == (RecordError(code).code, False)
    assert not (tmp_path / "stage").exists()
    return caught.value.message


def test_no_such_file(context: Context, tmp_path: pathlib.Path) -> None:
    assert "no such file" in refused({"path": str(tmp_path / "no")}, context, tmp_path, "NOT_FOUND")


def test_what_is_no_image(context: Context, tmp_path: pathlib.Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    for path in ("text.png", "."):
        refused({"path": str(tmp_path / path)}, context, tmp_path, "INVALID_ARGUMENT")


def test_an_image_that_is_cut_short_or_damaged(context: Context, tmp_path: pathlib.Path) -> None:
    for name in ("a.png", "a.jpg", "a.gif", "a.webp", "a.tiff", "a.bmp"):
        data = pathlib.Path(saved(tmp_path, name)).read_bytes()
        for size in (10, 30, len(data) // 2):
            (tmp_path / name).write_bytes(data[:size])
            refused({"path": str(tmp_path / name)}, context, tmp_path, "INVALID_ARGUMENT")


def test_a_page_description_is_no_image(context: Context, tmp_path: pathlib.Path) -> None:
    """Reading it would start a program."""
    (tmp_path / "a.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    refused({"path": str(tmp_path / "a.eps")}, context, tmp_path, "INVALID_ARGUMENT")


@pytest.mark.parametrize("side", [10_001, 60_000])
def test_a_picture_that_would_fill_the_memory(context: Context, tmp_path: pathlib.Path, side: int) -> None:
    """Some bytes that claim to be it: they are refused before anything is decoded."""
    assert side * side > MAX_PIXELS
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    ]
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    tracemalloc.start()
    try:
        message = refused({"path": str(tmp_path / "bomb.png")}, context, tmp_path, "INVALID_ARGUMENT")
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert f"{side} x {side} pixels" in message
