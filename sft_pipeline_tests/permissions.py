"""Tests of what may not be written run as root, too."""

import ctypes


def obey_permissions() -> None:
    """Root reads and writes everything; after the next exec no longer (PR_CAPBSET_DROP of CAP_DAC_OVERRIDE)."""
    ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)
