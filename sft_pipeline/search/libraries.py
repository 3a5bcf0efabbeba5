"""Imports what every trial needs; the server that trials are forked from preloads it where there is no CUDA device.

It takes seconds of processor time, which every trial would spend again. Import it nowhere else.
"""

import gc

gc.disable()  # it would walk over what is imported again and again: a quarter of the time

import matplotlib.figure  # noqa: F401
import scipy.stats  # noqa: F401
from trl import SFTConfig, SFTTrainer  # noqa: F401

from sft_pipeline.search import trial  # noqa: F401
from sft_pipeline.training import trainer  # noqa: F401

gc.enable()
gc.freeze()
