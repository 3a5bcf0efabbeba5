"""Imports the libraries that steps with a model need; the forkserver preloads it where several steps will need them.

They take many seconds of processor time, which every such step would spend again. Import it nowhere else, and never where
there are CUDA devices: a library that looks for one while it is imported leaves a CUDA context that no forked process can use.
"""

import gc

gc.disable()  # it would walk over what is imported again and again: a quarter of the time

import matplotlib.figure  # noqa: F401
import peft  # noqa: F401
import scipy.stats  # noqa: F401
import torch  # noqa: F401
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401

gc.enable()
gc.freeze()  # the steps share this memory as long as their garbage collector does not touch it
