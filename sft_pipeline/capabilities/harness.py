"""lm-evaluation-harness over the project's own engines: its tasks and scores, one loaded model with and without adapter.

The harness's own models load a model each, and have scored adapters as their base (its issues 808 and 2432). Here it asks
an `Engine`, which the caller opened, and which carries an adapter or does not.
"""

import io
import logging
import operator
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import datasets
import lm_eval.tasks
import lm_eval.utils
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.task import ConfigurableTask
from lm_eval.evaluator import evaluate
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.tasks._yaml_loader import load_yaml

from sft_pipeline.capabilities.items import FIELD, Doc, Items, kind_of, known
from sft_pipeline.errors import DataError, ModelError, SpecificationError
from sft_pipeline.evaluation.scoring import sandbox
from sft_pipeline.experiment import Benchmark, Generation
from sft_pipeline.generation.answers import in_chunks
from sft_pipeline.generation.engines.engine import Engine, adapter_content
from sft_pipeline.provenance.hashing import canonical_json, hash_value
from sft_pipeline.specification import expand_path

DEFINITIONS = Path(lm_eval.tasks.__file__).parent
"""Where the harness keeps its task files."""

EXAMPLES_SEED = 1234
"""Seed with which the harness draws examples by default (lm_eval.defaults.DEFAULT_OTHER_SEED)."""

CODE_SECONDS, CODE_MEMORY = 10.0, 1024
"""Limits of a program of HumanEval in the sandbox, in seconds and MiB."""

CHUNK = 2048
"""Requests after which finished results are kept for a restart."""

SCORED = ("multiple_choice", "loglikelihood", "generate_until")
"""Kinds of tasks that score every item by itself."""


class ItemScore(NamedTuple):
    """What one metric says of one item.

    Attributes:
        task: name of the harness's task.
        position: of the item in the benchmark.
        score: the metric's value.
        output: the generated text; None where nothing is generated.
        hashes: the harness's own of item, prompt and target.
    """

    task: str
    position: int
    score: float
    output: str | None
    hashes: tuple[str, str, str]


class Task(NamedTuple):
    """A task of a benchmark, ready to be asked, and the positions of its items in the benchmark."""

    task: ConfigurableTask
    positions: list[int]

    @property
    def version(self) -> str:
        """Version of its definition."""
        return str(self.task.VERSION)

    @property
    def shots(self) -> int:
        """Examples in its prompts."""
        return self.task.config.num_fewshot


def tasks(name: str, benchmark: Benchmark, items: Items, positions: Sequence[int], root: Path) -> dict[str, Task]:
    """The harness's tasks of a benchmark over the items at `positions`, by their names.

    Raises:
        DataError: the rows are not what a task needs.
        SpecificationError: there is no such task, or it cannot be asked as declared.
    """
    found = {}
    for path in _definitions(name, kind_of(name, benchmark), root):
        config = _config(name, benchmark, path)
        subject = config["task"].removeprefix("mmlu_") if items.items[0].subject else ""
        own = [at for at in positions if items.items[at].subject == subject]
        if not own:
            continue
        examples = [doc for doc in items.examples if doc.subject == subject]
        found[config["task"]] = Task(_task(name, benchmark, config, [items.items[at] for at in own], examples), own)
    if lost := {items.items[at].subject for at in positions} - {task.removeprefix("mmlu_") for task in found} - {""}:
        raise DataError(
            f"{FIELD}.{name}: the harness knows no subject {', '.join(sorted(lost))}; name the files as published"
        )
    return found


def measure(tasks: Mapping[str, Task], model: "EngineModel", file: Path) -> dict[tuple[str, str], list[ItemScore]]:
    """Ask `model` every item: the scores by metric and filter, in the order of the items.

    Args:
        tasks: of one benchmark.
        model: the loaded model.
        file: where finished chunks are kept for a restart; suffixes are added.
    """
    model.file = file
    for task in tasks.values():
        task.task.set_fewshot_seed(EXAMPLES_SEED)
    # A bar for each subject is written whatever the terminal.
    with _errors_alone(), _templates_compiled_once(), redirect_stderr(io.StringIO()):
        found = evaluate(model, {"tasks": {n: t.task for n, t in tasks.items()}}, bootstrap_iters=0, log_samples=True)
    scores: dict[tuple[str, str], list[ItemScore]] = defaultdict(list)
    for name, task in tasks.items():
        generates = task.task.OUTPUT_TYPE == "generate_until"
        for sample in found["samples"][name]:
            hashes = tuple(sample[f"{part}_hash"] for part in ("doc", "prompt", "target"))
            output = sample["resps"][0][0] if generates else None
            for metric in sample["metrics"]:
                value = sample[metric]
                if not isinstance(value, int | float):
                    raise SpecificationError(
                        f"task {name}: its metric {metric} gives no single number per item, so it cannot be paired"
                    )
                position = task.positions[sample["doc_id"]]
                scores[metric, sample["filter"]].append(ItemScore(name, position, float(value), output, hashes))
    return dict(scores)


class _AskedTwice(ConfigurableTask):
    """A task whose prompts are written once for both models."""

    _instances: list[Instance] | None = None

    def build_all_requests(self, **kwargs: Any) -> None:
        """The requests of the first time, without its answers."""
        if not self._instances:
            super().build_all_requests(**kwargs)
        for request in self._instances or ():
            request.resps, request.filtered_resps = [], {}


class EngineModel(TemplateLM):
    """An engine as the harness sees a model.

    Attributes:
        adapter: folder of the adapter that it carries; None is the base model.
        file: beginning of the names of the files in which finished chunks are kept.
        seconds: time in the engine.
        tokens: tokens read and generated.
        cut: prompts that lost their beginning because the model cannot read all of them.
    """

    def __init__(self, engine: Engine, decoding: Generation, conditions: Mapping[str, str]):
        super().__init__()
        self.adapter: Path | None = None
        self.file = Path()
        self.seconds, self.tokens, self.cut = 0.0, 0, 0
        self._engine, self._decoding, self._conditions = engine, decoding, dict(conditions)
        self._encode = lru_cache(4096)(self._encoded)  # the choices of an item share their context
        self._read: tuple[list[Instance], list[Any]] = ([], [])

    @property
    def eot_token_id(self) -> int:
        """Id of the end of sequence."""
        return self._engine.tokenizer.inner.eos_token_id

    @property
    def prefix_token_id(self) -> int:
        """What a text without context is scored after: the beginning of sequence where there is one, as in the harness."""
        start = self._engine.tokenizer.inner.bos_token_id
        return self.eot_token_id if start is None else start

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Token ids, after the beginning that `model.bos` declares unless `add_special_tokens` is False."""
        return self._encode(string, add_special_tokens is not False)

    def _encoded(self, text: str, begins: bool) -> list[int]:
        tokenizer = self._engine.tokenizer
        return (tokenizer.sequences if begins else tokenizer.continuations)([text])[0]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-probabilities of the continuations; another model that is asked the same requests reads the same tokens."""
        before, tokens = self._read
        if tokens and len(requests) == len(before) and all(map(operator.is_, requests, before)):
            return self._loglikelihood_tokens(tokens)
        self._read = requests, []
        return super().loglikelihood(requests, disable_tqdm)

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        self._read = self._read[0], requests
        rows = [self._fitting(context, continuation) for _, context, continuation in requests]
        order = sorted(range(len(rows)), key=lambda at: (-len(rows[at][0]) - len(rows[at][1]), *rows[at]))

        def score(chunk: list[int]) -> list[tuple[float, bool]]:
            asked = [rows[at] for at in chunk]
            self.tokens += sum(len(context) + len(continuation) for context, continuation in asked)
            scored = self._engine.score(asked, self._decoding.batch_size, adapter=self.adapter)
            return [(sum(one.logprobs), one.greedy) for one in scored]

        return [(value, greedy) for value, greedy in self._kept("scores", rows, order, score)]

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """No task that is asked here needs it."""
        raise NotImplementedError("whole documents are not scored; the perplexity is that of the dev split")

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Greedy answers up to the task's stop strings."""
        groups: dict[str, list[int]] = defaultdict(list)
        for at, request in enumerate(requests):
            groups[canonical_json(request.args[1])].append(at)
        texts: dict[int, str] = {}
        for number, members in enumerate(groups.values()):
            prompts, decoding = self._asked([requests[at] for at in members])
            order = sorted(range(len(prompts)), key=lambda at: -len(prompts[at]))

            def answer(chunk: list[int], prompts: Any = prompts, decoding: Generation = decoding) -> list[str]:
                asked = [prompts[at] for at in chunk]
                answers = self._engine.complete(asked, decoding, adapter=self.adapter)
                self.tokens += sum(len(ids) for ids in asked) + sum(answer.tokens for answer in answers)
                return [answer.text for answer in answers]

            kept = [prompts, decoding.model_dump(mode="json")]
            texts |= zip(members, self._kept(f"texts-{number}", kept, order, answer), strict=True)
        return [texts[at] for at in range(len(requests))]

    def _asked(self, requests: Sequence[Instance]) -> tuple[list[list[int]], Generation]:
        """Prompts, cut from the left where no room for an answer is left, and the decoding that the task declares."""
        declared: dict[str, Any] = dict(normalize_gen_kwargs(requests[0].args[1]))
        if declared.get("do_sample"):
            raise SpecificationError("a task that samples its answers cannot be paired; declare do_sample: false in it")
        room = declared["max_gen_toks"]
        prompts = [self.tok_encode(request.args[0]) for request in requests]
        if (context := self._engine.context) is not None:
            # The harness refuses a limit beyond the context; half of it is left to the prompt here.
            room = min(room, context // 2)
            self.cut += sum(len(ids) > context - room for ids in prompts)
            prompts = [ids[-(context - room) :] for ids in prompts]
        stop = tuple(text for text in declared.get("until", ()) if text)
        update = {"max_new_tokens": room, "stop": stop, "sampling": None}
        return prompts, self._decoding.model_copy(update=update)

    def _fitting(self, context: list[int], continuation: list[int]) -> tuple[list[int], list[int]]:
        """Both, the context cut from the left where the model cannot read all of it."""
        limit = self._engine.longest_scored
        if limit is None or len(context) + len(continuation) <= limit:
            return context, continuation
        if len(continuation) >= limit:
            raise ModelError(f"a choice of {len(continuation)} tokens does not fit into the model's context of {limit}")
        self.cut += 1
        return context[len(context) + len(continuation) - limit :], continuation

    def _kept(self, kind: str, asked: Any, order: list[int], compute: Callable[[list[int]], list[Any]]) -> list[Any]:
        """Results in the order of the requests; those of an interrupted run are taken from where it kept them."""

        def timed(chunk: list[int]) -> list[Any]:
            started = time.monotonic()
            found = compute(chunk)
            self.seconds += time.monotonic() - started
            return found

        adapter = adapter_content(self.adapter) if self.adapter else None
        header = {"adapter": adapter, "conditions": self._conditions, "asked": hash_value(asked)}
        return in_chunks(self.file.with_name(f"{self.file.name}-{kind}.jsonl"), header, order, CHUNK, timed)[0]


def _definitions(name: str, kind: str, root: Path) -> list[Path]:
    if kind == "world":
        return [Path(__file__).with_name("world.yaml")]
    if facts := known().get(kind):
        return sorted(path for pattern in facts.definitions for path in DEFINITIONS.glob(pattern))
    path = expand_path(kind, root)
    if not path.is_file():
        raise SpecificationError(
            f"{FIELD}.{name}.task: {kind!r} is none of {', '.join(n for n in known() if n != 'world')}, and there is no task file "
            f"{path}. Name the YAML file of a task in lm-evaluation-harness's form"
        )
    return [path]


def _config(name: str, benchmark: Benchmark, path: Path) -> dict[str, Any]:
    """The definition in a task file, as it is asked here."""
    code = kind_of(name, benchmark) == "humaneval"
    try:
        # HumanEval's own functions fetch a metric from the network, and run code in this process.
        config = dict(load_yaml(path, resolve_func=not code))
    except Exception as error:  # a task file may import whatever it likes
        raise SpecificationError(f"{FIELD}.{name}: the task file {path.name} cannot be loaded: {error}") from error
    for key in ("tag", "group", "task_list", "task_alias", "dataset_path", "dataset_name", "dataset_kwargs"):
        config.pop(key, None)
    if config.get("output_type") not in SCORED or config.get("class"):
        raise SpecificationError(
            f"{FIELD}.{name}: a task is one of {', '.join(SCORED)}, this one {config.get('output_type')}"
        )
    if code:
        config |= {"metric_list": [{"metric": "pass@1", "aggregation": "mean", "higher_is_better": True}]}
        config |= {"process_results": _passes, "filter_list": None}
    if config.pop("unsafe_code", False) and not code:
        raise SpecificationError(
            f"{FIELD}.{name}: the task runs what a model wrote in this process; only humaneval is run, fenced"
        )
    shots = config.get("num_fewshot") or 0
    if benchmark.shots is not None and benchmark.shots != shots:
        if config.get("num_fewshot") == 0:
            raise SpecificationError(f"{FIELD}.{name}.shots: the task fixes them at 0; leave the field out")
        shots = benchmark.shots
    if shots and not benchmark.examples:
        raise SpecificationError(
            f"{FIELD}.{name}: the prompt has {shots} examples: name their file (examples: {{path: …}}), or declare shots: 0"
        )
    return config | {"num_fewshot": shots}


def _task(
    name: str, benchmark: Benchmark, config: dict[str, Any], items: Sequence[Doc], examples: Sequence[Doc]
) -> ConfigurableTask:
    shots = config["num_fewshot"]
    if len(examples) < shots:
        raise DataError(
            f"{FIELD}.{name}.examples: {config['task']} needs {shots} examples, the files hold {len(examples)}"
        )
    splits = {"test": datasets.Dataset.from_list([doc.fields for doc in items])}
    config = config | {"test_split": "test", "validation_split": None, "training_split": None, "fewshot_split": "test"}
    if shots:
        splits["examples"] = datasets.Dataset.from_list([doc.fields for doc in examples])
        config["fewshot_split"] = "examples"
    if "query" in items[0].fields:  # what the harness would make of HellaSwag's rows
        config["process_docs"] = None
    datasets.disable_progress_bars()
    try:
        with _errors_alone():
            return _AskedTwice(config={**config, "custom_dataset": lambda **_: splits})
    except Exception as error:  # templates of any kind over rows of any kind
        raise DataError(
            f"{FIELD}.{name}: the rows do not fit the task {config['task']}: {type(error).__name__}: {error}. Give them the fields "
            "that its definition names"
        ) from error


@contextmanager
def _errors_alone() -> Iterator[None]:
    """Keep the harness from logging what it does with every task."""
    levels = {name: logging.getLogger(name).level for name in ("lm_eval", "lm_eval.api.task")}
    try:
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _templates_compiled_once() -> Iterator[None]:
    """Keep the harness from compiling a task's template again for every item, which takes longer than all else that it does."""
    environment = lm_eval.utils.env
    vars(environment)["from_string"] = lru_cache(1024)(environment.from_string)
    try:
        yield
    finally:
        del vars(environment)["from_string"]


def _passes(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, int]:
    """pass@1 of HumanEval, as its own task joins the program and its test, in the project's sandbox."""
    code, tests = doc["prompt"] + results[0], f"{doc['test']}\ncheck({doc['entry_point']})"
    return {"pass@1": int(sandbox.run(code, tests, CODE_SECONDS, CODE_MEMORY).passed)}
