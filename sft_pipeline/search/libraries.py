"""Imports what every trial needs; the server that trials are forked from preloads it where there is no CUDA device.

It takes seconds of processor time, which every trial would spend again. Import it nowhere else.
"""

from sft_pipeline.provenance.environment import importing

with importing():
    import matplotlib.figure  # noqa: F401
    import scipy.stats  # noqa: F401
    from trl import SFTConfig, SFTTrainer  # noqa: F401

    from sft_pipeline.search import trial  # noqa: F401
    from sft_pipeline.training import trainer  # noqa: F401
