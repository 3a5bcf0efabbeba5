"""The child process with vLLM in it, as its parent sees it: started, asked over a pipe, ended when it falls silent."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sft_pipeline.errors import ModelError


class VllmProcess:
    """The process with vLLM in it: a line of JSON there, a line of JSON back, and a line for each sign of life."""

    def __init__(self, output: Path, cpu: bool):
        self._output = output
        environment = os.environ | {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "VLLM_NO_USAGE_STATS": "1",
            "HF_HUB_OFFLINE": "1",
            # It talks to nobody: what it opens all the same, it opens to this machine alone.
            "GLOO_SOCKET_IFNAME": "lo",
            "NCCL_SOCKET_IFNAME": "lo",
            "VLLM_HOST_IP": "127.0.0.1",
        }
        if cpu:  # threads that spin on shared cores are many times slower than threads that sleep
            environment = {"OMP_WAIT_POLICY": "PASSIVE"} | environment
        asks, self._asks = os.pipe()
        self._answers, answers = os.pipe()
        with open(output, "ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sft_pipeline.generation.engines.vllm_child", str(asks), str(answers)],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=environment,
                pass_fds=(asks, answers),
            )
        os.close(asks)
        os.close(answers)
        self._lines = self._read()

    def ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The child's answer.

        Args:
            request: anything that JSON can hold.
            seconds: longest silence.

        Raises:
            ModelError: the child died, fell silent or reports an error; with the last lines that it wrote.
        """
        self._silence = seconds
        with self._failing():
            data = memoryview(json.dumps(request).encode() + b"\n")
            while data:
                data = data[os.write(self._asks, data) :]
            answer = next(line for line in self._lines if line != {"alive": True})
        if "error" in answer:
            self.end()
            raise ModelError(f"vLLM failed: {answer['error']}{self._said()}")
        return answer

    def end(self) -> None:
        """End the process; once is enough."""
        if self._asks == -1:
            return
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for handle in (self._asks, self._answers):
            os.close(handle)
        self._asks = self._answers = -1

    @contextmanager
    def _failing(self) -> Iterator[None]:
        if self._asks == -1:
            raise ModelError("this vLLM was ended after an error; open the engine again.")
        try:
            yield
        except (BrokenPipeError, EOFError) as error:
            code = self._process.wait()
            self.end()
            raise ModelError(f"vLLM's process died (exit code {code}){self._said()}") from error
        except TimeoutError as error:
            self.end()
            raise ModelError(
                f"vLLM gave no sign of life for {self._silence:g} s and was ended{self._said()}"
            ) from error

    def _read(self) -> Iterator[dict[str, Any]]:
        rest = b""
        while True:
            *lines, rest = rest.split(b"\n")
            yield from map(json.loads, lines)
            ready, _, _ = select.select([self._answers], [], [], self._silence)
            if not ready:
                raise TimeoutError
            block = os.read(self._answers, 1 << 20)
            if not block:
                raise EOFError
            rest += block

    def _said(self) -> str:
        lines = self._output.read_text(errors="replace").splitlines()[-15:]
        return "; its last lines:\n" + "\n".join(lines) if lines else ""
