"""Where does a list go on? Opaque, signed page and resume tokens.

    base64url( version ‖ BLAKE2b-128 keyed with the secret (RFC 7693) of version ‖ scope ‖ position ‖ position )

The version says what a position is: a number and a text, two texts, or nothing: the beginning. The scope (which
list, of which parent, with which filter, in which order) is signed but not carried: a token given back to another list
is as invalid as a forged one. A token carries no permission (AIP-158).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from typing import Final, Literal

from batchyard_server.model.errors import InvalidArgument, Reason
from batchyard_server.model.task_query import Position

Kind = Literal["tasks", "operations", "handlers", "records", "attempts", "subtasks", "watch", "artifacts", "cancels"]

_NUMBERED, _WORDED, _BEGINNING = b"\x02", b"\x03", b"\x04"
_MAC_BYTES: Final = 16
_LONGEST: Final = 1536  # characters; no position is longer, and nobody's time is spent on decoding more
_NUMBER: Final = struct.Struct(">q")
_LENGTH: Final = struct.Struct(">H")


class Tokens:
    """Makes and reads tokens with the key that is kept in the store, so they outlive the server's process."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, kind: Kind, scope: str, position: Position | None) -> str:
        """A token for `position` in the list `kind` of `scope` (parent, filter and order, in words).

        None: the beginning, in words, for a stream that has come to nothing yet.
        """
        if position is None:
            version, body = _BEGINNING, b""
        elif isinstance(position[0], int):
            version, body = _NUMBERED, _NUMBER.pack(position[0]) + position[1].encode()
        else:
            word = position[0].encode()
            version, body = _WORDED, _LENGTH.pack(len(word)) + word + position[1].encode()
        raw = version + self._sign(version, kind, scope, body) + body
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")

    def read(self, kind: Kind, scope: str, token: str, field: str) -> tuple[int, str] | None:
        """The position in `token`, whose first part is a number; None for the empty token, the beginning.

        Raises: InvalidArgument (INVALID_TOKEN, naming `field`) unless `make` made it with the same kind and scope.
        """
        position = self.read_any(kind, scope, token, field)
        if position is None:
            return None
        number, text = position
        if not isinstance(number, int):
            raise _invalid(field)
        return number, text

    def read_any(self, kind: Kind, scope: str, token: str, field: str) -> Position | None:
        """The same for lists in the order of a number or a text."""
        if not token:
            return None
        raw = _decode(token)
        version, body = raw[:1], raw[1 + _MAC_BYTES :]
        if not hmac.compare_digest(raw[1 : 1 + _MAC_BYTES], self._sign(version, kind, scope, body)):
            raise _invalid(field)
        if version == _BEGINNING:
            return None
        if version == _NUMBERED:
            return _NUMBER.unpack_from(body)[0], body[_NUMBER.size :].decode()
        end = _LENGTH.size + _LENGTH.unpack_from(body)[0]
        return body[_LENGTH.size : end].decode(), body[end:].decode()

    def _sign(self, version: bytes, kind: Kind, scope: str, body: bytes) -> bytes:
        signed = b"\0".join((version, kind.encode(), scope.encode(), body))
        return hashlib.blake2b(signed, key=self._secret, digest_size=_MAC_BYTES).digest()


def _decode(token: str) -> bytes:
    """The token's bytes, b"" if it is none. Only the one spelling that `make` gives is accepted."""
    if len(token) > _LONGEST:
        return b""
    try:
        raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""
    return raw if base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") == token else b""


def _invalid(field: str) -> InvalidArgument:
    return InvalidArgument(
        field, "is not a token that this server made for these arguments", reason=Reason.INVALID_TOKEN
    )
