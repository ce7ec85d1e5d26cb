# SPDX-License-Identifier: Apache-2.0
"""A vhost-user front end that starts rings and then does nothing: what an idle guest is to a server.

It speaks only as much as a server needs to run rings, without acknowledgements. [vhost-user]
"""

from __future__ import annotations

import mmap
import os
import pathlib
import socket
import struct

GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE = 1, 2, 3, 5
SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, SET_VRING_KICK, SET_VRING_CALL = 8, 9, 10, 12, 13
GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, SET_VRING_ENABLE = 15, 16, 18
VERSION_1, EVENT_IDX, PROTOCOL_FEATURES = 1 << 32, 1 << 29, 1 << 30
MULTI_QUEUE = 1 << 0  # a protocol feature
PAGE = 4096
# Descriptors, available and used ring of up to 128 entries, each in a page of its own.
RING_BYTES = 3 * PAGE


class IdleFrontEnd:
    def __init__(self, path: pathlib.Path, queues: int = 1, queue_size: int = 128) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        size = queues * RING_BYTES
        memory = os.memfd_create("rings")
        os.ftruncate(memory, size)
        self.memory = mmap.mmap(memory, size)
        self.events = [os.eventfd(0) for _ in range(2 * queues)]
        self._tell(SET_OWNER)
        offered = self._ask(GET_FEATURES)
        self._tell(SET_PROTOCOL_FEATURES, self._ask(GET_PROTOCOL_FEATURES) & MULTI_QUEUE)
        self._tell(SET_FEATURES, offered & (VERSION_1 | EVENT_IDX | PROTOCOL_FEATURES))
        # One region; addresses of the front end are the same as those of the guest.
        self._send(SET_MEM_TABLE, struct.pack("=IIQQQQ", 1, 0, 0, size, 0, 0), memory)
        os.close(memory)
        for queue in range(queues):
            self._start(queue, queue_size)
        self._ask(GET_FEATURES)  # answered when all before it was read

    def close(self) -> None:
        self.socket.close()
        for event in self.events:
            os.close(event)
        self.memory.close()

    def _start(self, queue: int, queue_size: int) -> None:
        at = queue * RING_BYTES
        self._send(SET_VRING_NUM, struct.pack("=II", queue, queue_size))
        self._send(SET_VRING_BASE, struct.pack("=II", queue, 0))
        addresses = struct.pack("=IIQQQQ", queue, 0, at, at + 2 * PAGE, at + PAGE, 0)
        self._send(SET_VRING_ADDR, addresses)
        for code, event in zip((SET_VRING_KICK, SET_VRING_CALL), self.events[2 * queue :]):
            self._send(code, struct.pack("=Q", queue), event)
        self._send(SET_VRING_ENABLE, struct.pack("=II", queue, 1))

    def _send(self, code: int, payload: bytes, fd: int | None = None) -> None:
        message = struct.pack("=III", code, 1, len(payload)) + payload
        socket.send_fds(self.socket, [message], [] if fd is None else [fd])

    def _tell(self, code: int, number: int | None = None) -> None:
        self._send(code, b"" if number is None else struct.pack("=Q", number))

    def _ask(self, code: int) -> int:
        self._tell(code)
        reply = self.socket.recv(20, socket.MSG_WAITALL)
        return struct.unpack("=IIIQ", reply)[3]
