"""Both engines against each other: the same answers token by token, whatever adapter was served before."""

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from sft_pipeline.errors import ModelError
from sft_pipeline.experiment import Generation, Prompt, Sampling
from sft_pipeline.generation.engines import vllm_engine
from sft_pipeline.generation.engines.transformers_engine import TransformersEngine
from sft_pipeline.generation.engines.vllm_engine import VllmEngine
from sft_pipeline.generation.engines.vllm_process import VllmProcess
from sft_pipeline.model.conversation import Conversation
from sft_pipeline_tests.capabilities.asked import answered, require_equal
from sft_pipeline_tests.generation.conftest import PROMPTS, SPEC, random_adapter
from sft_pipeline_tests.sockets import beyond_loopback

DECODING = Generation(max_new_tokens=24, batch_size=16)
TALKED = Prompt(format="chat", chat={"template": "chatml"})
USER, ANSWER = {"role": "user", "content": "One drum, two"}, {"role": "assistant", "content": "drums"}
TALKS = [[USER], [{"role": "system", "content": "Be brief."}, USER, ANSWER, USER]]


@pytest.fixture(scope="module")
def transformers(ending_base):
    with TransformersEngine(ending_base, SPEC) as engine:
        yield engine


@pytest.fixture(scope="module")
def vllm(ending_base, vllm_here):
    with VllmEngine(ending_base, SPEC, max_rank=4) as engine:
        engine._running(engine.context)  # a start takes 15 seconds, and a longer prompt would take another
        yield engine


@pytest.fixture(params=["transformers", pytest.param("vllm", marks=pytest.mark.slow)])
def engine(request):
    return request.getfixturevalue(request.param)


def is_alive(pid):
    """Whether the process runs: one that has ended stays in /proc where nobody has adopted it."""
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def comparable(answers):
    return [(a.text, a.tokens, a.finish_reason) for a in answers]


def spanning(tokenizer, answers):
    """A string that begins in one token and ends in the next, and that some of the answers hold."""
    for answer in answers:
        pieces = [tokenizer.decode([i]) for i in tokenizer.encode(answer.text)]
        for first, second in zip(pieces[1:], pieces[2:], strict=False):
            if len(first) > 1 and second.strip():
                return first[-1] + second[0]
    raise AssertionError("no answer has two tokens to span")


@pytest.mark.slow
def test_both_engines_are_asked_with_the_same_tokens_in_chat_format(ending_base, vllm_here, monkeypatch):
    asked, ends = [], []
    for engine in (TransformersEngine(ending_base, SPEC, TALKED), VllmEngine(ending_base, SPEC, 4, TALKED)):
        monkeypatch.setattr(type(engine), "complete", lambda self, ids, *_, **__: asked.append(ids))
        texts = [engine.tokenizer.chat.prompt(Conversation([*talk, ANSWER])) for talk in TALKS]
        engine.answer(texts, DECODING)
        ends.append(sorted(engine.tokenizer.ends))
    assert asked[0] == asked[1] and len(asked[0]) == 2
    assert vllm_engine._sampling(DECODING, engine.tokenizer.ends)["stop_token_ids"] == ends[0] == ends[1]


@pytest.mark.slow
def test_the_process_with_vllm_listens_on_no_other_interface_than_loopback(vllm):
    vllm.answer(PROMPTS, DECODING)
    child = psutil.Process(vllm._child._process.pid)
    assert beyond_loopback([child, *child.children(recursive=True)]) == []


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True])
def test_both_engines_answer_the_same_base_and_adapter_in_any_order(transformers, vllm, adapters, stopped):
    first, second = adapters
    decoding = DECODING
    if stopped:
        stop = spanning(transformers.tokenizer, transformers.answer(PROMPTS, DECODING))
        decoding = DECODING.model_copy(update={"stop": (stop, "qzq")})
    reasons, texts = set(), {}
    for adapter in (None, first, None, second, first, None):
        expected = transformers.answer(PROMPTS, decoding, adapter=adapter)
        found = vllm.answer(PROMPTS, decoding, adapter=adapter)
        assert comparable(found) == comparable(expected)
        for a, b in zip(found, expected, strict=True):
            assert a.mean_logprob == (
                b.mean_logprob if b.mean_logprob is None else pytest.approx(b.mean_logprob, abs=1e-4)
            )
        assert texts.setdefault(adapter, comparable(found)) == comparable(found)
        reasons |= {a.finish_reason for a in found}
    assert reasons == {"stop", "length"}
    assert len({str(answers) for answers in texts.values()}) == 3, "an adapter changed nothing: this proves nothing"
    if stopped:
        whole = [comparable(transformers.answer(PROMPTS, DECODING, adapter=a)) for a in (None, first, second)]
        assert whole != list(texts.values()), "no answer met the stop string"


def test_an_answer_ends_where_the_context_ends(engine):
    words = "the people of the coast sold a drum and " * 300
    ids = engine.tokenizer.encode(words)[:509]
    prompt = engine.tokenizer.decode(ids)
    assert len(engine.tokenizer.encode(prompt)) == 509
    (answer,) = engine.answer([prompt], DECODING.model_copy(update={"max_new_tokens": 8}))
    assert answer.tokens <= 3
    with pytest.raises(ModelError, match="number 2 with .* tokens"):
        engine.answer(["a", words], DECODING)


def test_the_mean_log_probability_is_that_of_the_model_itself(transformers):
    import torch

    tokenizer, model = transformers.tokenizer, transformers._model
    for prompt, answer in zip(PROMPTS[:6], transformers.answer(PROMPTS[:6], DECODING), strict=True):
        ids, chosen = tokenizer.encode(prompt), []
        for _ in range(answer.tokens):
            with torch.inference_mode():
                scores = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
            ids = [*ids, int(scores.argmax())]
            chosen.append(scores.max().item())
        expected = pytest.approx(sum(chosen) / len(chosen), abs=1e-4) if chosen else None
        assert answer.mean_logprob == expected


def test_a_temperature_does_not_touch_the_log_probability(engine):
    surest = Sampling(temperature=0.3, top_k=1)
    drawn = engine.answer(PROMPTS, DECODING.model_copy(update={"sampling": surest}))
    assert drawn == engine.answer(PROMPTS, DECODING)


@pytest.mark.slow
def test_a_sample_depends_on_its_seed_and_on_nothing_before_it(engine):
    def draw(seed):
        decoding = DECODING.model_copy(update={"sampling": Sampling(temperature=1.0, seed=seed)})
        return comparable(engine.answer(PROMPTS, decoding))

    first, other, again = draw(3), draw(4), draw(3)
    assert first == again != other
    assert first != comparable(engine.answer(PROMPTS, DECODING))


@pytest.mark.slow
def test_an_adapter_that_is_replaced_in_its_folder_is_served_afresh(engine, adapters, tmp_path):
    shutil.copytree(adapters[0], tmp_path / "adapter")
    first = engine.answer(PROMPTS, DECODING, adapter=tmp_path / "adapter")
    shutil.rmtree(tmp_path / "adapter")
    shutil.copytree(adapters[1], tmp_path / "adapter")
    second = engine.answer(PROMPTS, DECODING, adapter=tmp_path / "adapter")
    assert comparable(first) == comparable(engine.answer(PROMPTS, DECODING, adapter=adapters[0]))
    assert comparable(second) == comparable(engine.answer(PROMPTS, DECODING, adapter=adapters[1]))


@pytest.mark.slow
def test_vllm_refuses_an_adapter_that_it_cannot_serve_and_continues(vllm, ending_base, adapters, tmp_path):
    wide = random_adapter(ending_base, tmp_path / "wide", 1, r=16)
    dora = random_adapter(ending_base, tmp_path / "dora", 1, use_dora=True)
    for folder, problem in [(wide, "rank 16.* up to 8"), (dora, "use_dora"), (tmp_path / "none", "missing")]:
        with pytest.raises(ModelError, match=problem):
            vllm.answer(PROMPTS, DECODING, adapter=folder)
    assert vllm.answer(PROMPTS[:1], DECODING, adapter=adapters[0])


@pytest.mark.slow
def test_both_engines_score_benchmarks_alike(transformers, vllm, adapters, tasks, experiment_of, tmp_path):
    """Here, where vLLM runs: a start takes 15 seconds. The harness's own model is compared in test_harness.py."""
    from sft_pipeline.capabilities.harness import EngineModel

    for folder in (None, adapters[0]):
        both = []
        for engine in (vllm, transformers):
            model = EngineModel(engine, experiment_of().generation, {})
            model.adapter = folder
            both.append(answered(tasks, model, tmp_path / engine.name / str(bool(folder))))
        require_equal(*both, 1e-3)


@pytest.mark.slow
def test_a_vllm_that_falls_silent_is_an_error_with_its_last_lines(ending_base, vllm_here, monkeypatch):
    """It is stopped before it has imported anything: how far it has come makes no difference."""

    class Stopped(VllmProcess):
        def __init__(self, output, cpu):
            output.write_text("about to read the weights\n")
            super().__init__(output, cpu)
            os.kill(self._process.pid, signal.SIGSTOP)

    monkeypatch.setattr(vllm_engine, "VllmProcess", Stopped)
    monkeypatch.setattr(vllm_engine, "START_SECONDS", 1)
    with VllmEngine(ending_base, SPEC, max_rank=4) as engine:
        with pytest.raises(ModelError, match=r"(?s)no sign of life for 1 s.*last lines:\nabout to read the weights"):
            engine.answer(PROMPTS[:1], DECODING)
        assert not os.path.exists(f"/proc/{engine._child._process.pid}")
        with pytest.raises(ModelError, match="open the engine again"):
            engine.answer(PROMPTS[:1], DECODING)


@pytest.mark.slow
def test_an_error_inside_vllm_ends_it_and_is_reported_with_its_last_lines(vllm, monkeypatch):
    """The last test with the running vLLM: a further one would start another."""
    vllm.answer(PROMPTS[:1], DECODING)
    child = vllm._child._process.pid
    monkeypatch.setattr(vllm_engine, "_sampling", lambda *_: {"no_such_argument": 1})
    with pytest.raises(ModelError, match=r"(?s)vLLM failed: TypeError.*last lines.*no_such_argument"):
        vllm.answer(PROMPTS[:1], DECODING)
    assert not os.path.exists(f"/proc/{child}")
    with pytest.raises(ModelError, match="open the engine again"):
        vllm.answer(PROMPTS[:1], DECODING)


@pytest.mark.slow
def test_no_vllm_outlives_its_parent(vllm_here, tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from sft_pipeline.generation.engines.vllm_process import VllmProcess\n"
        "print(VllmProcess(Path(sys.argv[1]), True)._process.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, tmp_path / "log.txt"], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while (alive := is_alive(child)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive, (tmp_path / "log.txt").read_text()
