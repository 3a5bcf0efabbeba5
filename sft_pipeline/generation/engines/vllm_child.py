"""The child process of `vllm_engine`: loads vLLM once and answers requests until its parent closes the pipe.

The first line that it reads are the arguments of `vllm.LLM`; every further line is a request. It writes a line of JSON for
each, and `{"alive": true}` while it works.
"""

import json
import os
import queue
import sys
import threading
import time
import traceback
from typing import Any, TextIO

from sft_pipeline.provenance.environment import importing

ALIVE_SECONDS = 5
"""Seconds between two signs of life at most, as long as answers are finished."""


def main(asks: int, answers: int) -> None:
    """Serve requests from the file descriptor `asks` on the file descriptor `answers`."""
    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_listen, args=(asks, requests), daemon=True).start()
    with os.fdopen(answers, "w") as out:
        try:
            with importing():
                import torch
                from vllm import LLM

                llm = LLM(**json.loads(requests.get()))
            _say(out, {"threads": torch.get_num_threads()})
            while True:
                _say(out, {"answers": _generate(llm, json.loads(requests.get()), out)})
        except Exception as error:  # the parent stops with it, and shows the last lines
            traceback.print_exc()
            _say(out, {"error": f"{type(error).__name__}: {error}"})
            os._exit(1)


def _generate(llm: Any, request: dict[str, Any], out: TextIO) -> list[tuple[list[Any], Any]]:
    """For each row, all with one adapter or none, token ids and their log-probabilities.

    Of `scored` rows the log-probabilities of the continuation's tokens, and whether each of them is the most likely one.
    """
    from tqdm import tqdm
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    class Alive(tqdm):
        """Tells the parent of finished answers instead of drawing a bar."""

        said = time.monotonic()

        def update(self, n: float | None = 1) -> bool | None:
            if time.monotonic() - self.said > ALIVE_SECONDS:
                _say(out, {"alive": True})
                self.said = time.monotonic()
            return super().update(n)

    adapter = request["adapter"]
    lora = adapter and LoRARequest(f"adapter-{adapter['number']}", adapter["number"], adapter["path"])
    scored = request.get("scored")
    if scored:
        prompts = [row["context"] + row["continuation"] for row in scored]
        sampling = [SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)] * len(scored)
    else:
        prompts = [row["ids"] for row in request["rows"]]
        sampling = [
            SamplingParams(**request["sampling"], max_tokens=row["limit"], seed=row["seed"]) for row in request["rows"]
        ]
    outputs = llm.generate(
        [{"prompt_token_ids": ids} for ids in prompts],
        sampling,
        lora_request=lora,
        use_tqdm=lambda *args, **options: Alive(*args, **options | {"file": sys.stderr, "mininterval": 60}),
    )
    if scored:
        return [_continuation(output.prompt_logprobs, row) for output, row in zip(outputs, scored, strict=True)]
    # With no further candidates asked for (logprobs: 0), the flat list holds the generated tokens alone.
    done = [output.outputs[0] for output in outputs]
    return [(list(one.token_ids), list(one.logprobs.logprobs)) for one in done]


def _continuation(logprobs: list[dict[int, Any]], row: dict[str, list[int]]) -> tuple[list[float], bool]:
    own = [found[token] for found, token in zip(logprobs[len(row["context"]) :], row["continuation"], strict=True)]
    return [one.logprob for one in own], all(one.rank == 1 for one in own)


def _listen(asks: int, requests: queue.Queue[str]) -> None:
    """Read requests as they come; without a parent there is nobody to work for."""
    with os.fdopen(asks) as lines:
        for line in lines:
            requests.put(line)
    os._exit(0)


def _say(out: TextIO, message: dict[str, Any]) -> None:
    out.write(json.dumps(message) + "\n")
    out.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
