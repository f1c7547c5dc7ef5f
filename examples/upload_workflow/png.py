"""Just enough PNG to make a picture and its thumbnail: 8-bit RGB, no filters, nothing but the standard library."""

import random
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIDE = 96
"""Width and height of a picture, in pixels."""
SHRINK = 4
"""How many pixels of a picture, in each direction, become one of its thumbnail."""

Pixel = tuple[int, int, int]
Rows = list[list[Pixel]]


def paint(number: int) -> bytes:
    """Paint a picture, always the same for the same number."""
    chance = random.Random(number)
    red, green, blue = (chance.randrange(256) for _ in range(3))
    return encode(
        [[((red + x) % 256, (green + y) % 256, (blue + x * y // SIDE) % 256) for x in range(SIDE)] for y in range(SIDE)]
    )


def shrink(picture: bytes) -> bytes:
    """Make the thumbnail of a picture: each of its pixels is the mean of `SHRINK` x `SHRINK`."""
    rows = decode(picture)
    return encode(
        [
            [
                _mean([line[x + i] for line in rows[y : y + SHRINK] for i in range(SHRINK)])
                for x in range(0, len(rows[0]), SHRINK)
            ]
            for y in range(0, len(rows), SHRINK)
        ]
    )


def encode(rows: Rows) -> bytes:
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), 8, 2, 0, 0, 0)
    scanlines = b"".join(b"\0" + bytes(value for pixel in line for value in pixel) for line in rows)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(scanlines)) + _chunk(b"IEND", b"")


def decode(picture: bytes) -> Rows:
    """Read what `encode` wrote. Raises `ValueError` for anything else."""
    chunks = dict(_chunks(picture))
    try:
        width, height, *kind = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
        scanlines = zlib.decompress(chunks[b"IDAT"])
    except (KeyError, struct.error, zlib.error) as error:
        raise ValueError("not a whole picture") from error
    stride = 1 + 3 * width
    if kind != [8, 2, 0, 0, 0] or len(scanlines) != stride * height or any(scanlines[::stride]):
        raise ValueError("not a picture of ours")
    lines = [scanlines[start + 1 : start + stride] for start in range(0, len(scanlines), stride)]
    return [[(line[x], line[x + 1], line[x + 2]) for x in range(0, len(line), 3)] for line in lines]


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _chunks(picture: bytes) -> list[tuple[bytes, bytes]]:
    if not picture.startswith(SIGNATURE):
        raise ValueError("not a PNG")
    found = []
    position = len(SIGNATURE)
    while position + 12 <= len(picture):
        (length,) = struct.unpack_from(">I", picture, position)
        found.append((picture[position + 4 : position + 8], picture[position + 8 : position + 8 + length]))
        position += 12 + length
    return found


def _mean(pixels: list[Pixel]) -> Pixel:
    red, green, blue = (sum(values) // len(pixels) for values in zip(*pixels, strict=True))
    return red, green, blue
