"""Removes the metadata of a JPEG or PNG file, whose defects can hide a sound image from Pillow."""

import struct
import zlib

JPEG_START, PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
# The chunks that an image needs, and its orientation.
_PNG_CRITICAL, _PNG_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}, {b"tRNS", b"eXIf"}
_JPEG_SCAN = 0xDA
_JPEG_EXIF, _JPEG_ADOBE, _JPEG_COMMENT = 0xE1, 0xEE, 0xFE  # Adobe: says how colours are encoded
_ADOBE_BYTES = 12


def without_metadata(encoded: bytes) -> bytes:
    """The file without application segments and comments (JPEG), or ancillary chunks (PNG).

    The parts that determine colours, transparency and orientation are kept, unless they are damaged
    too. Files of other formats stay as they are, and so does the rest of a file that cannot be
    parsed.
    """
    if encoded.startswith(PNG_START):
        return _strip_png(encoded)
    return _strip_jpeg(encoded) if encoded.startswith(JPEG_START) else encoded


def _strip_png(encoded: bytes) -> bytes:
    kept, start = [PNG_START], len(PNG_START)
    while start + 12 <= len(encoded):  # each chunk: length, kind, content, CRC-32
        length, kind = struct.unpack_from(">I4s", encoded, start)
        chunk = encoded[start : start + 12 + length]
        intact = chunk[-4:] == struct.pack(">I", zlib.crc32(chunk[4:-4]))
        if kind in _PNG_CRITICAL or (kind in _PNG_KEPT and intact and length):
            kept.append(chunk)
        start += len(chunk)
    return b"".join(kept)


def _strip_jpeg(encoded: bytes) -> bytes:
    kept, start = [JPEG_START], len(JPEG_START)
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
