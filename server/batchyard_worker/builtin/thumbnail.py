"""The handler `thumbnail`: a small copy of an image, left as an artifact. Needs Pillow."""

from __future__ import annotations

import warnings
from typing import Any

from PIL import Image, ImageOps

from batchyard_worker.context import Context, RecordError

DEFAULT_SIZE = 256
MAX_SIZE = 4096
MAX_PIXELS = 100_000_000
"""Of the image; a file of some KiB may claim to be a picture that fills all memory."""

Image.MAX_IMAGE_PIXELS = None  # the bound is ours, and is looked at before anything is decoded

_FORMATS = ("BMP", "GIF", "ICO", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Those that Pillow reads by itself; others start programs."""


def thumbnail(record: Any, context: Context) -> dict[str, Any]:
    """Makes a thumbnail of an image file: artifact `thumbnail.png` if the image has transparency, else `thumbnail.jpg`.

    Args:
        record: ``{"path": …, "size": n}``: a file on the server's machine, and the longest side in pixels, 1 to 4096;
            default 256. A smaller image is not made larger.
        context: Of the record.

    Returns:
        ``artifact``, ``width`` and ``height`` of the thumbnail; ``source`` {format, width, height} of the image.

    Raises:
        RecordError: INVALID_ARGUMENT if the record is not like that, or the file is no image, is damaged, or has more
            than 100 million pixels; NOT_FOUND, PERMISSION_DENIED if it cannot be read.
    """
    path, size = _asked(record)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a file that is somewhat damaged: its business, not ours
            made, source = _read(path, size)
    except RecordError:
        raise
    except FileNotFoundError:
        raise RecordError("NOT_FOUND", f"{path}: no such file", retryable=False) from None
    except PermissionError:
        raise RecordError("PERMISSION_DENIED", f"{path}: it may not be read", retryable=False) from None
    except Exception as error:  # noqa: BLE001 - decoders raise all kinds of errors for what is damaged
        raise _refused(f"{path}: not an image that can be read: {error}") from None
    name = "thumbnail.png" if made.mode == "RGBA" else "thumbnail.jpg"
    made.save(context.artifacts_dir / name)
    return {"artifact": name, "width": made.width, "height": made.height, "source": source}


def _read(path: str, size: int) -> tuple[Image.Image, dict[str, Any]]:
    """The thumbnail, and what the image is."""
    with Image.open(path, formats=_FORMATS) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise _refused(f"{path}: it has {width} x {height} pixels, more than {MAX_PIXELS}")
        source = {"format": image.format, "width": width, "height": height}
        return _shrink(image, size), source


def _shrink(image: Image.Image, size: int) -> Image.Image:
    """A copy whose longest side has at most so many pixels, upright, in RGB or RGBA."""
    image.draft("RGB", (size, size))  # a JPEG is decoded as coarsely as will do
    if image.mode.startswith("I"):  # 16 bits of grey
        small = image.point(lambda value: value * (1 / 256)).convert("L")
    else:
        transparent = "A" in image.getbands() or "transparency" in image.info
        small = image.convert("RGBA" if transparent else "RGB")
    small.thumbnail((size, size))
    upright = ImageOps.exif_transpose(small)
    return upright.convert("RGB") if upright.mode == "L" else upright


def _refused(message: str) -> RecordError:
    return RecordError("INVALID_ARGUMENT", message, retryable=False)


def _asked(record: Any) -> tuple[str, int]:
    if not isinstance(record, dict) or not isinstance(record.get("path"), str) or not record["path"]:
        raise _refused('the record is not {"path": "…"}')
    size = record.get("size", DEFAULT_SIZE)
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_SIZE:
        raise _refused(f"size must be a whole number from 1 to {MAX_SIZE}")
    return record["path"], size
