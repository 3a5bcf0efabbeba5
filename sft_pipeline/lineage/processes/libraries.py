"""Imports the libraries that steps with a model need; the forkserver preloads it where several steps will need them.

They take many seconds of processor time, which every such step would spend again. Import it nowhere else, and never where
there are CUDA devices: a library that looks for one while it is imported leaves a CUDA context that no forked process can use.
"""

from sft_pipeline.provenance.environment import importing

with importing():
    import matplotlib.figure  # noqa: F401
    import peft  # noqa: F401
    import scipy.stats  # noqa: F401
    import torch  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
