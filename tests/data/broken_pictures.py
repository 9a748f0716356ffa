"""Damage of the kinds that disks, transfers and strangers do to pictures, by the number of the case."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
from PIL import Image

KINDS: tuple[tuple[str, str, dict[str, object]], ...] = (
    ("PNG", "RGB", {}),
    ("JPEG", "RGB", {"quality": 90}),
    ("JPEG", "RGB", {"progressive": True}),
    ("GIF", "P", {}),
    ("WEBP", "RGBA", {"lossless": True}),
    ("WEBP", "RGB", {}),
    ("BMP", "RGB", {}),
    ("TIFF", "RGB", {}),
    ("TIFF", "L", {"compression": "tiff_lzw"}),
    ("TIFF", "RGB", {"compression": "jpeg"}),
    ("PNG", "I;16", {}),
    ("PNG", "P", {"transparency": 3}),
    ("PPM", "RGB", {}),
)


def sound(number: int) -> bytes:
    """The undamaged picture of a case, 24x20, of one of KINDS."""
    kind, mode, options = KINDS[number % len(KINDS)]
    noise = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    if mode == "I;16":
        picture = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    else:
        picture = Image.fromarray(noise).convert(mode)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def broken(number: int) -> bytes:
    """The damaged picture of a case: flipped, cut, zeroed, doubled, swapped or strewn bytes."""
    rng, data = random.Random(f"picture {number}"), bytearray(sound(number))
    place = rng.randrange(len(data))
    length = rng.choice([1, 4, 16, 64, len(data)])
    damage = number // len(KINDS) % 9
    if damage == 0:
        del data[place:]
    elif damage == 1:
        data[place] ^= 1 << rng.randrange(8)
    elif damage == 2:
        for _ in range(rng.choice([5, 50])):
            data[rng.randrange(len(data))] = rng.randrange(256)
    elif damage == 3:
        data[place : place + length] = bytes(len(data[place : place + length]))
    elif damage == 4:  # the head, where sizes and counts stand
        data[rng.randrange(min(60, len(data)))] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
    elif damage == 5:
        data[place:place] = data[:length]
    elif damage == 6:
        del data[place : place + length]
    elif damage == 7:
        other = sound(number + 1)
        data[place:] = other[place:]
    else:
        data[rng.randrange(min(60, len(data))) :][:4] = b"\xff\xff\xff\xff"
        data[8:12] = b"\xff\xff\xff\x7f"
    return bytes(data)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it has width x height pixels."""
    return png(width, height, 8, 0, zlib.compress(bytes(1000)))


def png(width: int, height: int, depth: int, colour: int, pixels: bytes, transparent: bytes = b"") -> bytes:
    """A PNG file by its parts: bits of a sample, the kind of colour, compressed rows, the chunk tRNS."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))]
    parts += [chunk(b"tRNS", transparent)] if transparent else []
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", pixels), chunk(b"IEND", b"")])
