"""GGUF by llama.cpp, where it is at hand: its converter, and its server for the answers."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from sft_pipeline.errors import ModelError

LLAMA_CPP = "SFT_PIPELINE_LLAMA_CPP"
"""Variable with the folder of llama.cpp's sources, which holds convert_hf_to_gguf.py."""

FILE = "model.gguf"


def converter() -> Path | None:
    """llama.cpp's converter; None where it is not at hand."""
    named = os.environ.get(LLAMA_CPP)
    script = Path(named or "") / "convert_hf_to_gguf.py"
    return script if named and script.is_file() else None


def command(python: str, script: Path, merged: Path, out: Path, outtype: str) -> list[str]:
    """The converter's command line."""
    return [python, str(script), str(merged), "--outfile", str(out), "--outtype", outtype]


def convert(merged: Path, out: Path, outtype: str) -> str:
    """Convert the merged model; returns what is to be done by hand, empty where it was converted.

    Raises:
        ModelError: the converter failed.
    """
    script = converter()
    if script is None:
        by_hand = Path("llama.cpp/convert_hf_to_gguf.py"), Path("exports/merged"), Path(f"exports/gguf/{FILE}")
        shown = shlex.join(command("python", *by_hand, outtype))
        return (
            f"llama.cpp is not at hand ({LLAMA_CPP} names no folder with convert_hf_to_gguf.py). Convert the merged model: "
            f"{shown}; let llama.cpp answer the test items greedily with the experiment's prompt, and name the answers in "
            "export.outputs.gguf"
        )
    ran = subprocess.run(command(sys.executable, script, merged, out / FILE, outtype), capture_output=True, text=True)
    if ran.returncode:
        raise ModelError(f"export gguf: llama.cpp's converter failed: {ran.stderr.strip()[-500:]}")
    return ""
