"""GGUF by the converter of llama.cpp, where that is at hand."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from sft_pipeline.errors import ModelError

LLAMA_CPP = "SFT_PIPELINE_LLAMA_CPP"
"""Variable with the folder of llama.cpp's sources, which holds convert_hf_to_gguf.py."""

FILE = "model.gguf"

REMEDIES = {
    "No module named": "Install that module into this environment.",
    "pre-tokenizer was not recognized": (
        "llama.cpp has a table of the tokenizers that it can apply, and this base's is not in it: leave gguf out of export.kinds, "
        "or take a base whose tokenizer it knows."
    ),
}
"""What llama.cpp's converter says → what to do."""


def converter() -> Path | None:
    """llama.cpp's converter; None where it is not at hand."""
    named = os.environ.get(LLAMA_CPP)
    script = Path(named or "") / "convert_hf_to_gguf.py"
    return script if named and script.is_file() else None


def by_hand(outtype: str) -> str:
    """What is to be done where the converter is not at hand."""
    paths = Path("llama.cpp/convert_hf_to_gguf.py"), Path("exports/merged"), Path(f"exports/gguf/{FILE}")
    return (
        f"llama.cpp is not at hand ({LLAMA_CPP} names no folder with convert_hf_to_gguf.py). Convert the merged model: "
        f"{shlex.join(_command('python', *paths, outtype))}; let llama.cpp answer the test items greedily with the "
        "experiment's prompt, and name the answers in export.outputs.gguf"
    )


def convert(script: Path, merged: Path, out: Path, outtype: str) -> None:
    """Convert the merged model.

    Raises:
        ModelError: the converter failed.
    """
    ran = subprocess.run(_command(sys.executable, script, merged, out / FILE, outtype), capture_output=True, text=True)
    if ran.returncode:
        said = ran.stderr.strip()[-500:]
        remedy = next((f". {remedy}" for words, remedy in REMEDIES.items() if words in said), "")
        raise ModelError(f"export gguf: llama.cpp's converter failed: {said}{remedy}")


def _command(python: str, script: Path, merged: Path, out: Path, outtype: str) -> list[str]:
    return [python, str(script), str(merged), "--outfile", str(out), "--outtype", outtype]
