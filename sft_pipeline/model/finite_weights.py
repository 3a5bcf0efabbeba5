"""Looks for NaN and infinite weights in the bytes of a safetensors file while they are hashed.

The format: eight bytes with the length of a JSON header, the header with each tensor's type and byte range, the tensors.
See https://github.com/huggingface/safetensors#format. In all floating-point types of IEEE 754's kind a value is no finite
number if all bits of its exponent are set.
"""

import json
from pathlib import Path

import numpy as np

_EXPONENT = {"F64": (8, 0x7FF0 << 48), "F32": (4, 0x7F80 << 16), "F16": (2, 0x7C00), "BF16": (2, 0x7F80)}
"""Bytes of a value, and the mask of its exponent."""


class FiniteWeights:
    """Takes the blocks of one file in order.

    Attributes:
        problem: the first tensor that holds a NaN or infinite value; empty where all are finite.
    """

    def __init__(self, path: Path):
        self.problem = ""
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length)) if length <= path.stat().st_size else {}
        start = 8 + length
        self._tensors = sorted(
            (start + entry["data_offsets"][0], start + entry["data_offsets"][1], entry["dtype"], name)
            for name, entry in header.items()
            if name != "__metadata__" and entry["dtype"] in _EXPONENT
        )
        self._rest = b""  # the beginning of a value whose end is in the next block

    def __call__(self, offset: int, block: bytes) -> None:
        """Look at the bytes from `offset` on."""
        end = offset + len(block)
        while self._tensors and not self.problem:
            first, last, dtype, name = self._tensors[0]
            if first >= end:
                return
            size, mask = _EXPONENT[dtype]
            data = self._rest + block[max(0, first - offset) : max(0, last - offset)]
            whole = len(data) // size * size
            values = np.frombuffer(data[:whole], f"<u{size}")
            if ((values & np.array(mask, values.dtype)) == mask).any():
                self.problem = name
            self._rest = data[whole:]
            if last > end:
                return
            self._tensors.pop(0)
            self._rest = b""
