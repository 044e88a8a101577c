"""Where does a list go on? Opaque, signed page and resume tokens.

    base64url( version ‖ BLAKE2b-128 keyed with the secret (RFC 7693) of version ‖ scope ‖ position ‖ position )

The scope (which list, of which parent, in which order) is signed but not carried: a token given back to another list is
as invalid as a forged one. A token carries no permission (AIP-158).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from typing import Final, Literal

from batchyard_server.model.errors import InvalidArgument, Reason

Kind = Literal["tasks", "operations", "handlers", "records", "attempts", "subtasks", "watch", "artifacts", "cancels"]

_VERSION: Final = b"\x02"
_MAC_BYTES: Final = 16
_LONGEST: Final = 1536  # characters; no position is longer, and nobody's time is spent on decoding more
_NUMBER: Final = struct.Struct(">q")


class Tokens:
    """Makes and reads tokens with the key that is kept in the store, so they outlive the server's process."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def make(self, kind: Kind, scope: str, position: tuple[int, str]) -> str:
        """A token for `position` in the list `kind` of `scope` (parent and order, in words)."""
        body = _NUMBER.pack(position[0]) + position[1].encode()
        raw = _VERSION + self._sign(kind, scope, body) + body
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")

    def read(self, kind: Kind, scope: str, token: str, field: str) -> tuple[int, str] | None:
        """The position in `token`; None for the empty token, the beginning.

        Raises: InvalidArgument (INVALID_TOKEN, naming `field`) unless `make` made it with the same kind and scope.
        """
        if not token:
            return None
        raw = _decode(token)
        body = raw[1 + _MAC_BYTES :]
        if raw[:1] != _VERSION or len(body) < _NUMBER.size:
            raise _invalid(field)
        if not hmac.compare_digest(raw[1 : 1 + _MAC_BYTES], self._sign(kind, scope, body)):
            raise _invalid(field)
        return _NUMBER.unpack_from(body)[0], body[_NUMBER.size :].decode()

    def _sign(self, kind: Kind, scope: str, body: bytes) -> bytes:
        signed = b"\0".join((_VERSION, kind.encode(), scope.encode(), body))
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
