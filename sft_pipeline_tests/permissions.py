"""Tests of what may not be written run as root, too."""

import ctypes


def obey_permissions() -> None:
    """Root reads and writes everything; after the next exec no longer.

    PR_CAPBSET_DROP of CAP_DAC_OVERRIDE and of CAP_DAC_READ_SEARCH, which lists any folder.
    """
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
