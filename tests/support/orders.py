"""The order of rows, written a second time."""

import hashlib


def independent_order(rows: int, key: str) -> list[int]:
    """The rule in words: rows sorted by the keyed BLAKE2b of their number, 8 bytes big-endian;
    the key is the BLAKE2b of the text of (purpose, task, seed); both digests have 16 bytes."""
    secret = hashlib.blake2b(key.encode("utf-8"), digest_size=16).digest()
    drawn = []
    for row in range(rows):
        keyed = hashlib.blake2b(key=secret, digest_size=16)
        keyed.update(bytes((row >> shift) & 255 for shift in range(56, -8, -8)))
        drawn.append((int.from_bytes(keyed.digest(), "big"), row))
    return [row for _, row in sorted(drawn)]
