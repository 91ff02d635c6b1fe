"""Frames of the serial bridge on the host's side; see `celosia.rtl.bridge`."""

import struct
import zlib

from celosia.rtl.bridge_frames import END, ESCAPE, ESCAPED_END, ESCAPED_ESCAPE

__all__ = ["decode_frames", "encode_frame"]

_WORD = 4


def encode_frame(payload: bytes) -> bytes:
    """Return the bytes on the line for a frame of `payload`."""
    data = payload + struct.pack("<I", zlib.crc32(payload))
    data = data.replace(bytes([ESCAPE]), bytes([ESCAPE, ESCAPED_ESCAPE]))
    data = data.replace(bytes([END]), bytes([ESCAPE, ESCAPED_END]))
    return bytes([END]) + data + bytes([END])


def decode_frames(data: bytes) -> tuple[list[bytes | None], bytes]:
    """Return the payloads of the frames that end in `data`, and the bytes after the last of them.

    A frame that is damaged gives None; nothing between two ends is no frame.
    """
    *coded, rest = data.split(bytes([END]))
    return [_decode(frame) for frame in coded if frame], rest


def _decode(coded: bytes) -> bytes | None:
    data = coded.replace(bytes([ESCAPE, ESCAPED_END]), bytes([END]))
    data = data.replace(bytes([ESCAPE, ESCAPED_ESCAPE]), bytes([ESCAPE]))
    payload, check = data[:-_WORD], data[-_WORD:]
    if len(payload) < _WORD or check != struct.pack("<I", zlib.crc32(payload)):
        return None
    return payload
