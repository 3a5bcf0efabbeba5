"""Importing this hides all CUDA devices; the forkserver of the step processes preloads it, so that steps start blind.

A step that is tagged for a device gets its own by a lease, see devices.py. Import it nowhere else.
"""

from sft_pipeline.lineage.processes.devices import hide

hide()
