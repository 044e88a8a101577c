"""Frames on the socket between server and worker: a 4-byte big-endian length, then one message."""

from __future__ import annotations

import socket
import struct

from batchyard_worker.v1 import worker_pb2

_LENGTH = struct.Struct(">I")
_CHUNK = 1 << 18


class Closed(Exception):
    """The server is gone: end of file or a broken connection."""


class FrameReader:
    """Reads ToWorker messages. One thread at a time.

    Args:
        sock: A connected stream socket in blocking mode.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray()

    def read(self, block: bool) -> list[worker_pb2.ToWorker]:
        """What has arrived, in order; whole messages only.

        Args:
            block: Wait for at least one message. Otherwise an empty list says that there is none now.

        Raises:
            Closed: The server closed its side or is gone.
        """
        while True:
            try:
                data = self._sock.recv(_CHUNK, 0 if block else socket.MSG_DONTWAIT)
            except BlockingIOError:
                return []
            except OSError as error:
                raise Closed(str(error)) from None
            if not data:
                raise Closed("end of file")
            self._buffer += data
            messages = self._take()
            if messages:
                return messages

    def _take(self) -> list[worker_pb2.ToWorker]:
        buffer, messages, position = self._buffer, [], 0
        while len(buffer) - position >= 4:
            (size,) = _LENGTH.unpack_from(buffer, position)
            if len(buffer) - position - 4 < size:
                break
            messages.append(worker_pb2.ToWorker.FromString(bytes(buffer[position + 4 : position + 4 + size])))
            position += 4 + size
        del buffer[:position]
        return messages


def send(sock: socket.socket, message: worker_pb2.FromWorker) -> None:
    """Sends one message; blocks until the kernel has taken all of it. One thread at a time.

    Raises:
        Closed: The server is gone.
    """
    data = message.SerializeToString()
    try:
        sock.sendall(_LENGTH.pack(len(data)) + data)
    except OSError as error:
        raise Closed(str(error)) from None
