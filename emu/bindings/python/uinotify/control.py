"""The control protocol of an emulator (docs/protocol.md)."""

import errno
import json
import os
import socket
import struct

#: Version of the protocol.
PROTOCOL = 1

_FRAME = struct.Struct("=4sBBHQII")
_REPLY = struct.Struct("=4sB3xIiII")
_MAGIC = b"uino"
_FRAMES = 1
_STATUS = 10
_CONTROL = 16
_PACKET_BYTES = 32 * 1024
#: A longer line goes on in the next packet.
_SENT_BYTES = 4096


class Refused(OSError):
    """What an emulator has refused, with an errno and a sentence."""

    def __init__(self, name, message):
        super().__init__(getattr(errno, name, 0), message)
        #: The errno by its name.
        self.name = name

    def __str__(self):
        return f"{self.strerror} ({self.name})"


def quoted(path):
    """A path or a name as the protocol writes it: what is no text stands as ``%`` and two hexadecimal digits a byte."""
    shown = []
    for character in os.fsencode(path).decode("utf-8", "surrogateescape"):
        if 0xDC80 <= ord(character) <= 0xDCFF:
            shown.append(f"%{ord(character) - 0xDC00:02X}")
        elif character == "%" or ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0:
            shown.append("".join(f"%{byte:02X}" for byte in character.encode()))
        else:
            shown.append(character)
    return "".join(shown)


def _connect(path):
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
    try:
        connection.connect(os.fspath(path))
    except OSError:
        connection.close()
        raise
    return connection


def _frame(kind, payload=b""):
    return _FRAME.pack(_MAGIC, _FRAMES, kind, 0, 0, 0, len(payload)) + payload


def status(path):
    """What ``uinotify ps --json`` shows of the emulator at a socket."""
    with _connect(path) as connection:
        connection.send(_frame(_STATUS))
        text = b""
        while packet := connection.recv(_PACKET_BYTES):
            text += packet
    return json.loads(text)


class Control:
    """A connection to the emulator at a socket. One thread at a time may use it."""

    def __init__(self, path, token=b""):
        self._connection = _connect(path)
        self._received = b""
        self._last = 0
        try:
            self._connection.send(_frame(_CONTROL, token))
            reply = self._connection.recv(_PACKET_BYTES)
            if len(reply) < _REPLY.size:
                raise ConnectionError("the emulator has hung up")
            magic, frames, number, version, _, _ = _REPLY.unpack(reply[: _REPLY.size])
            if magic != _MAGIC or frames != _FRAMES:
                raise ConnectionError("the emulator's answer cannot be understood")
            if number:
                raise OSError(number, os.strerror(number))
            if version < PROTOCOL:
                raise ConnectionError(f"the emulator speaks version {version} of the protocol, not {PROTOCOL}")
        except BaseException:
            self.close()
            raise

    def close(self):
        """Ends the connection, and what waits on it."""
        self._connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, do, *, timeout=None, **arguments):
        """Has the emulator do something, and returns its answer. :class:`TimeoutError` after ``timeout`` seconds without one."""
        self._last += 1
        number = self._last
        line = json.dumps({"v": PROTOCOL, "id": number, "do": do, **arguments}).encode() + b"\n"
        for at in range(0, len(line), _SENT_BYTES):
            self._connection.send(line[at : at + _SENT_BYTES])
        self._connection.settimeout(timeout)
        try:
            while True:
                answer = json.loads(self._line())
                # Of a command that was given up.
                if answer["id"] not in (number, None):
                    continue
                if "error" in answer:
                    raise Refused(answer["error"]["errno"], answer["error"]["message"])
                return answer["ok"]
        finally:
            self._connection.settimeout(None)

    def _line(self):
        while b"\n" not in self._received:
            packet = self._connection.recv(_PACKET_BYTES)
            if not packet:
                raise ConnectionError("the emulator has ended")
            self._received += packet
        line, self._received = self._received.split(b"\n", 1)
        return line
