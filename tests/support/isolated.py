"""A process without a network, whose attempts at one are noted; planted by `sandbox.beft`."""

import ctypes
import runpy

CLONE_NEWNET = 0x40000000


def enter(watch: str) -> None:
    """Moves this process where there is no network, if that is permitted, and runs a script."""
    ctypes.CDLL(None).unshare(CLONE_NEWNET)
    runpy.run_path(watch)
