# SPDX-License-Identifier: Apache-2.0
"""Wears zones of an image out: no command does that, a device does it on its own. Written from docs/format.md."""

import json
import pathlib
import struct

import daemon

PAGE = 4096
ZONES_PER_PAGE = 504
CRC_OFFSET = 60
WORDS_OFFSET = 64
READ_ONLY = 13
OFFLINE = 15


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def set_state(image: pathlib.Path, zone: int, state: int) -> None:
    """Gives a zone of a clean image another state, in the slot that counts. Its data stays."""
    layout = json.loads(daemon.zbdkit("info", image, "--json"))["image"]
    page, entry = divmod(zone, ZONES_PER_PAGE)
    with open(image, "r+b") as file:
        offsets = [layout["commit_offset"] + (2 * page + slot) * PAGE for slot in range(2)]
        sequences = []
        for offset in offsets:
            file.seek(offset + 8)
            sequences.append(struct.unpack("<Q", file.read(8))[0])
        offset = offsets[sequences.index(max(sequences))]
        file.seek(offset)
        content = bytearray(file.read(PAGE))
        word_at = WORDS_OFFSET + 8 * entry
        data_end = struct.unpack_from("<Q", content, word_at)[0] & (1 << 56) - 1
        struct.pack_into("<Q", content, word_at, state << 56 | data_end)
        struct.pack_into("<I", content, CRC_OFFSET, 0)
        struct.pack_into("<I", content, CRC_OFFSET, crc32c(bytes(content)))
        file.seek(offset)
        file.write(content)
