"""Removes the metadata of a JPEG or PNG file, whose defects can hide a sound image from Pillow."""

import struct
import zlib

# The chunks that an image needs, and its orientation.
_PNG_CRITICAL, _PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}, {b"tRNS", b"eXIf"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_START, _JPEG_SCAN = b"\xff\xd8", 0xDA
_JPEG_EXIF, _JPEG_ADOBE, _JPEG_COMMENT = 0xE1, 0xEE, 0xFE  # Adobe: says how colours are encoded
_ADOBE_BYTES = 12


def without_metadata(encoded: bytes) -> bytes:
    """The file without application segments and comments (JPEG), or ancillary chunks (PNG).

    What colours, transparency and orientation depend on is kept, unless it is damaged too. Files of
    other formats, and what cannot be parsed, stay as they are.
    """
    if encoded.startswith(_PNG_SIGNATURE):
        return _strip_png(encoded)
    return _strip_jpeg(encoded) if encoded.startswith(_JPEG_START) else encoded


def _strip_png(encoded: bytes) -> bytes:
    kept, start = [_PNG_SIGNATURE], len(_PNG_SIGNATURE)
    while start + 12 <= len(encoded):  # each chunk: length, kind, content, CRC-32
        length, kind = struct.unpack_from(">I4s", encoded, start)
        chunk = encoded[start : start + 12 + length]
        intact = chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4]))
        if kind in _PNG_CRITICAL or (kind in _PNG_KEPT and intact and length):
            kept.append(chunk)
        start += len(chunk)
    return b"".join(kept)


def _strip_jpeg(encoded: bytes) -> bytes:
    kept, start = [_JPEG_START], len(_JPEG_START)
    while start + 4 <= len(encoded) and encoded[start] == 0xFF:
        marker, length = encoded[start + 1], struct.unpack_from(">H", encoded, start + 2)[0]
        if marker == _JPEG_SCAN:
            break
        segment = encoded[start : start + 2 + length]
        needed = marker == _JPEG_EXIF or (marker == _JPEG_ADOBE and length - 2 >= _ADOBE_BYTES)
        if needed or not (0xE0 <= marker <= 0xEF or marker == _JPEG_COMMENT):
            kept.append(segment)
        start += len(segment)
    return b"".join([*kept, encoded[start:]])
