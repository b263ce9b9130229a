"""Random numbers from keys, never from a process's own state.

The same key gives the same numbers on every machine, in every worker and after every restart.
"""

from __future__ import annotations

import hashlib

from torch import Generator


def seed_from(*key: int | str) -> int:
    """Hash a key such as (seed, stage, sample) to a seed below 2**63."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*key: int | str) -> Generator:
    """Make a CPU generator whose numbers depend on the key alone."""
    return Generator().manual_seed(seed_from(*key))
