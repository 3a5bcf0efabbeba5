"""The schema of a specification, and nothing else.

One YAML file under `specs/` is one experiment; `specification.py` reads it. Unknown keys are errors, values are never
coerced from a wrong type, and every field says what it does: the JSON Schema for editors is made from these texts.
"""

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from sft_pipeline.prompt import insert

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]  # it must not lead out of the store
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy takes


def _compiles(pattern: str, name: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{name} is no regular expression: {error}") from error


def _once(names: tuple[str, ...], field: str) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{field} names {', '.join(twice)} more than once")


class Section(BaseModel):
    """A part of a specification: unknown keys are refused and nothing can be changed after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, strict=True)


class Prompt(Section):
    """How an instruction becomes the text that the model sees, in training and in evaluation alike."""

    template: str = Field(
        "Instruction: {instruction}\nResponse:",
        description="Text with the placeholder {instruction} exactly once. Nothing else in it is interpreted.",
    )
    response_prefix: str = Field(" ", description="What stands between the prompt and the response in training.")

    @model_validator(mode="after")
    def _one_placeholder(self) -> "Prompt":
        if self.template.count("{instruction}") != 1:
            raise ValueError("template must contain {instruction} exactly once")
        return self

    def render(self, instruction: str) -> str:
        """The prompt for `instruction`; the text is inserted, never evaluated as a template."""
        return insert(self.template, instruction)


# ---------------------------------------------------------------------------------------------------------------- data


class EmbeddedData(Section):
    """Instruction data generated over the embedded world, with dirt in it for the quality stage to find."""

    kind: Literal["embedded"]
    rows: Positive = Field(3000, description="Clean rows to generate, before the dirt is added.")
    dirt: Share = Field(0.08, description="Rows with a planted fault, as a share of `rows`.")
    seed: int = Field(11, description="Seed of the instruction generator.")
    world_seed: int = Field(7, description="Seed of the world; must be the one that the base model was built on.")


class Columns(Section):
    """Which column of the source holds what, where the recognised names do not fit."""

    instruction: str | None = Field(None, description="Column with the instruction.")
    input: str | None = Field(None, description="Column that is appended to the instruction after a line break.")
    response: str | None = Field(None, description="Column with the response.")
    type: str | None = Field(None, description="Column with the item's type.")
    group: str | None = Field(None, description="Column whose equal values must stay on one side of the split.")
    reference: str | None = Field(None, description="Column with what a scorer needs (a string or an object).")
    messages: str | None = Field(None, description="Column with a conversation: a list of {role, content}.")


class Conversations(Section):
    """What becomes of a row that is a list of messages; a base model's prompt knows one instruction and one response."""

    several_turns: Literal["reject", "first"] = Field(
        "reject", description="A row of several exchanges: set it aside, or keep its first exchange."
    )
    system: Literal["reject", "prepend", "drop"] = Field(
        "prepend",
        description="A system message: set the row aside, put the message before the instruction, or leave it out.",
    )


class FileData(Section):
    """Instruction data from a file (JSONL, JSON array, CSV, Parquet) or a folder of such files."""

    kind: Literal["file"]
    path: str = Field(description="Path, relative to the project's root; ${VARIABLES} of the environment expand.")
    columns: Columns = Field(Columns(), description="Explicit mapping; what is left out is recognised by name.")
    conversations: Conversations = Field(Conversations(), description="How lists of messages are read.")
    type: str = Field("all", description="Type of the rows that carry none.")
    limit: Positive | None = Field(None, description="Read only this many rows from the start of the source.")


class BenchmarkFile(Section):
    """A file of evaluation items that no training row may contain."""

    path: str = Field(description="Path, relative to the project's root; ${VARIABLES} of the environment expand.")
    column: str | None = Field(
        None, description="Column with the item's text; recognised by name (question, prompt, instruction, text)."
    )


class HubData(Section):
    """Instruction data from a hub dataset at a pinned revision; needs the network."""

    kind: Literal["hub"]
    name: str = Field(description="owner/name of the dataset.")
    revision: str = Field(pattern="^[0-9a-f]{40}$", description="Commit of the dataset: 40 hexadecimal digits.")
    split: str = Field("train", description="Split of the dataset.")
    columns: Columns = Field(Columns(), description="Explicit mapping; what is left out is recognised by name.")
    conversations: Conversations = Field(Conversations(), description="How lists of messages are read.")
    type: str = Field("all", description="Type of the rows that carry none.")


class ExpectedData(Section):
    """What is known of the training data beforehand, so that a plan can be made without it."""

    train_rows: Positive = Field(description="Rows of the training split.")
    mean_tokens: float = Field(gt=0, description="Mean length of prompt and response together, in tokens.")
    test_rows: dict[str, Positive] = Field({}, description="Items of the test split by type.")


class TokenBounds(Section):
    """Lengths in tokens of the experiment's own tokenizer."""

    least: int = Field(0, ge=0, description="Shorter texts are dropped.")
    most: Positive | None = Field(None, description="Longer texts are dropped.")

    @model_validator(mode="after")
    def _ordered(self) -> "TokenBounds":
        if self.most is not None and self.most < self.least:
            raise ValueError(f"most ({self.most}) is below least ({self.least})")
        return self


class PersonalData(Section):
    """Rows that hold personal data, found by Presidio's recognisers (the extra `personal-data`)."""

    entities: tuple[str, ...] = Field(
        ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS"),
        min_length=1,
        description="Presidio's names of what is looked for.",
    )
    min_score: Share = Field(0.5, description="Presidio's score from which on a finding counts.")


class Toxicity(Section):
    """Rows that a text classifier finds toxic (the extra `toxicity` for the word list)."""

    classifier: str | None = Field(
        None,
        description="Folder of a sequence-classification model (safetensors), relative to the project's root; "
        "${VARIABLES} expand. None: the word list alone.",
    )
    labels: tuple[str, ...] = Field(
        (), description="Labels of the classifier that count; empty: all but a neutral one."
    )
    max_score: Share = Field(0.5, description="Probability of a label above which a text is dropped.")
    words: bool = Field(True, description="Also drop texts with a word of profanex's list of profanities.")


class Critic(Section):
    """Verdicts of the guarded base model itself: one token, A or B, by its next-token log-probabilities."""

    instruction_prompt: str = Field(description="Prompt with {instruction}; a good instruction is continued by `good`.")
    pair_prompt: str = Field(
        description="Prompt with {instruction} and {response}; a good pair is continued by `good`."
    )
    good: str = Field(" A", min_length=1, description="Continuation that means good; its first token is compared.")
    bad: str = Field(" B", min_length=1, description="Continuation that means bad; its first token is compared.")
    margin: float = Field(
        0.5, ge=0, description="Difference of the log-probabilities (nats) from which on a verdict is confident."
    )

    @model_validator(mode="after")
    def _placeholders(self) -> "Critic":
        for name, wanted in (("instruction_prompt", ("instruction",)), ("pair_prompt", ("instruction", "response"))):
            for field in wanted:
                if getattr(self, name).count("{" + field + "}") != 1:
                    raise ValueError(f"{name} must contain {{{field}}} exactly once")
        return self


class Quality(Section):
    """What a row must satisfy to be kept, and what the kept rows must satisfy together."""

    placeholders: tuple[str, ...] = Field(
        (
            "noinput",
            "no input",
            "nooutput",
            "no output",
            "no output required",
            "n/a",
            "none",
            "null",
            "todo",
            "tbd",
            "placeholder",
            "lorem ipsum",
        ),
        description="Responses that consist of one of these (case, brackets and punctuation aside) are dropped.",
    )
    delimiters: tuple[str, ...] = Field(
        ("###END###", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "[INST]", "[/INST]", "<s>", "</s>"),
        description="Markers that may stand in no instruction and no response.",
    )
    runaway_markers: tuple[str, ...] = Field(
        ("Instruction:", "Question:", "Q:", "User:", "Assistant:", "Human:"),
        description="A later line of a response that starts with one of these goes on to a new prompt.",
    )
    truncation: bool = Field(True, description="Drop responses that end in the middle of a sentence.")
    repeats_instruction: bool = Field(True, description="Drop responses that only repeat the instruction.")
    max_repeated_share: Share = Field(
        0.5, description="Drop responses in which repeated word 4-grams make up more than this share of the text."
    )
    scope: dict[str, str] = Field({}, description="Named regular expressions; a row that matches one is out of scope.")
    scope_types: tuple[str, ...] = Field((), description="Types that are in scope; empty: all.")
    instruction_tokens: TokenBounds = Field(TokenBounds(), description="Length of an instruction.")
    response_tokens: TokenBounds = Field(TokenBounds(), description="Length of a response.")
    token_limit: Positive | None = Field(
        None,
        description="Token limit under which the responses were generated; a response of as many tokens was cut by it.",
    )
    languages: tuple[str, ...] = Field(
        (), description="ISO 639-1 codes of the languages that are wanted (such as en); empty: all."
    )
    min_language_probability: Share = Field(
        0.9, description="Probability of another language from which on a text is dropped; below it is undecided."
    )
    personal_data: PersonalData | None = Field(None, description="Drop rows that hold personal data.")
    toxicity: Toxicity | None = Field(None, description="Drop toxic rows.")
    critics: Literal["accepted", "confident", "ignored"] = Field(
        "accepted",
        description="Verdicts of critics, where rows have them: keep what every critic accepts, what every critic "
        "accepts with confidence, or take no notice.",
    )
    critic: Critic | None = Field(None, description="Let the guarded base model judge the rows that carry no verdict.")
    max_runaway_share: Share = Field(0.05, description="Threshold: runaways among the raw rows.")
    max_truncated_share: Share = Field(0.10, description="Threshold: truncated responses among the raw rows.")
    max_token_limit_share: Share = Field(0.10, description="Threshold: responses at token_limit among the raw rows.")
    min_acceptance: Share = Field(0.5, description="Threshold: acceptance by each critic among the rows it judged.")
    max_unreadable_share: Share = Field(0.02, description="Threshold: rows of the source that could not be read.")
    min_kept_share: Share = Field(0.5, description="Threshold: rows kept after filters and duplicates.")
    max_median_response_tokens: Positive | None = Field(
        None, description="Threshold: median response length in tokens, where the experiment wants short answers."
    )

    @model_validator(mode="after")
    def _scope_compiles(self) -> "Quality":
        for name, pattern in self.scope.items():
            _compiles(pattern, f"scope {name!r}")
        return self


class Duplicates(Section):
    """When two rows count as the same."""

    ngram: Positive = Field(3, description="Words per shingle; a shorter text is one shingle.")
    threshold: float = Field(
        0.7, gt=0, le=1, description="Jaccard similarity of the shingle sets from which on they are near-duplicates."
    )
    permutations: Positive = Field(128, description="Permutations of the MinHash signatures.")
    drop: Literal["pair", "instruction"] = Field(
        "pair",
        description="What must be near-duplicate for a row to be dropped: instruction and response together, or the "
        "instruction alone. Near-duplicate instructions that stay never cross a split.",
    )


class Semantic(Section):
    """The tier that compares meanings: cosine similarity of sentence embeddings (the extra `semantic`)."""

    model: str = Field(
        description="Folder of a sentence-transformers model, relative to the project's root (${VARIABLES} expand), or "
        "package:NAME for a model that an installed package carries."
    )
    threshold: float = Field(gt=0, le=1, description="Cosine similarity from which on an item counts as leaked.")
    decides: bool = Field(False, description="Whether such an item is a leak that stops the run, or only reported.")


class Leakage(Section):
    """What counts as a leak: of the test split, of a brought test file, of protected benchmarks."""

    containment_ngram: Positive = Field(8, description="Words of an n-gram that may not stand in train and test both.")
    max_contained_share: Share = Field(
        0.8,
        description="More than this share of a test item's n-grams in training rows is a leak; 1 only reports it.",
    )
    max_benchmark_share: Share = Field(
        0.5, description="A training row that holds more than this share of a benchmark item's n-grams is removed."
    )
    benchmarks: dict[FileName, BenchmarkFile] = Field(
        {}, description="Evaluation files by name, protected from training."
    )
    semantic: Semantic | None = Field(None, description="Compare meanings too.")


class Split(Section):
    """How the clean rows are divided; near-duplicates and groups never cross."""

    test_size: Positive = Field(300, description="Items of the test split.")
    dev_size: Positive = Field(100, description="Items of the dev split.")
    min_test_size: Positive = Field(300, description="Fewer test items than this stop the run.")
    smaller_test_reason: str | None = Field(
        None, description="Why fewer than 300 test items are enough; required then."
    )
    test_size_by_type: dict[str, Positive] = Field(
        {}, description="Test items of the types that need their own number."
    )
    seed: int = Field(0, description="Salt of the hash that assigns components to splits.")

    @model_validator(mode="after")
    def _reason(self) -> "Split":
        if self.min_test_size < 300 and not self.smaller_test_reason:
            raise ValueError("min_test_size below 300 needs smaller_test_reason")
        return self


class Data(Section):
    """From the raw source to the splits."""

    source: Annotated[
        EmbeddedData | FileData | HubData, Field(discriminator="kind", description="Where rows come from.")
    ]
    expected: ExpectedData | None = Field(None, description="What a plan may assume when the data are not at hand.")
    quality: Quality = Field(Quality(), description="Filters and thresholds.")
    duplicates: Duplicates = Field(Duplicates(), description="Near-duplicates.")
    split: Split = Field(Split(), description="Train, dev and test.")
    leakage: Leakage = Field(Leakage(), description="What counts as a leak.")
    test: FileData | None = Field(
        None, description="A test file that is brought instead of being split off: never altered, never trained on."
    )


# --------------------------------------------------------------------------------------------------------------- model


class EmbeddedBase(Section):
    """The embedded tiny base model: Qwen2 architecture, trained from scratch on the world's plain text."""

    kind: Literal["embedded"]
    world_seed: int = Field(7, description="Seed of the world that the text tells about.")
    seed: Seed = Field(1, description="Seed of the weights, the text and the order of the batches.")
    documents: Positive = Field(60_000, description="Documents of the training text.")
    vocabulary: Positive = Field(1280, description="Size of the byte-level BPE vocabulary.")
    hidden_size: Positive = Field(128, description="Width of the model.")
    layers: Positive = Field(2, description="Transformer layers.")
    heads: Positive = Field(2, description="Attention heads; hidden_size / heads must be 32, 64 or more for vLLM.")
    steps: Positive = Field(2600, description="Optimiser steps.")
    batch_size: Positive = Field(8, description="Sequences per step.")
    sequence_length: Positive = Field(128, description="Tokens per sequence.")
    learning_rate: float = Field(
        4e-3,
        gt=0,
        description="Peak learning rate of embeddings and norms (AdamW); Muon's is five times that. Cosine to 5 %.",
    )


class FolderBase(Section):
    """A base model in a local folder in Hugging Face layout with safetensors weights."""

    kind: Literal["folder"]
    path: str = Field(description="Path, relative to the project's root; ${VARIABLES} of the environment expand.")


class HubBase(Section):
    """A base model from a hub; a branch name is resolved to its commit, which is recorded."""

    kind: Literal["hub"]
    name: str = Field(description="owner/name of the model.")
    revision: str = Field(description="Commit (40 hexadecimal digits), tag or branch.")


class Sentinel(Section):
    """A prompt whose answer tells whether a model is a base model."""

    name: str = Field(description="Name in the report, such as instruction_following_should_fail.")
    prompt: str = Field(description="The raw text; in the training format it stands as the instruction.")
    expect: Literal["fails", "works"] = Field(description="Whether a clean base model should fail or succeed.")
    matches: str = Field(description="Regular expression (case ignored) that a successful answer matches.")
    in_format: bool = Field(True, description="Run it in the training format too.")

    @model_validator(mode="after")
    def _matches_compiles(self) -> "Sentinel":
        _compiles(self.matches, "matches")
        return self


class Architecture(Section):
    """Sizes of a Llama-like decoder without biases, named as in config.json."""

    hidden_size: Positive = Field(description="Width of the model.")
    intermediate_size: Positive = Field(description="Width of the feed-forward layers.")
    num_hidden_layers: Positive = Field(description="Layers.")
    num_attention_heads: Positive = Field(description="Attention heads.")
    num_key_value_heads: Positive | None = Field(None, description="Key and value heads; default: as many as heads.")
    head_dim: Positive | None = Field(None, description="Width of a head; default: hidden_size / num_attention_heads.")
    vocab_size: Positive = Field(description="Entries of the embedding.")

    @model_validator(mode="after")
    def _divisible(self) -> "Architecture":
        if self.head_dim is None and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) is no multiple of num_attention_heads ({self.num_attention_heads}): "
                "state head_dim"
            )
        if self.num_attention_heads % (self.num_key_value_heads or 1):
            raise ValueError(
                f"num_attention_heads ({self.num_attention_heads}) is no multiple of num_key_value_heads "
                f"({self.num_key_value_heads})"
            )
        return self


class BaseModelSpec(Section):
    """The base model, how it is loaded, and how it must behave."""

    source: Annotated[
        EmbeddedBase | FolderBase | HubBase, Field(discriminator="kind", description="Where it comes from.")
    ]
    device: Literal["cpu", "cuda"] = Field(
        "cpu", description="Where it runs; a missing device is an error, never a silent fallback."
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="Precision of weights and computation (compute type when quantised). There is no float16: it needs its "
        "losses scaled, and every card since Ampere computes in bfloat16; on an older one take float32.",
    )
    quantization: Literal["none", "nf4", "int8"] = Field(
        "none", description="nf4 is 4-bit with double quantisation (QLoRA), int8 is LLM.int8."
    )
    double_quantization: bool = Field(True, description="Quantise the constants of nf4 too.")
    int8_threshold: float = Field(6.0, ge=0, description="Outlier threshold of LLM.int8.")
    int8_has_fp16_weight: Literal[False] = Field(
        False,
        description="Always off: weights that also stay in 16 bits are for training the base itself; under a frozen base "
        "they would undo what int8 saves.",
    )
    attention: Literal["sdpa", "eager", "flash_attention_2"] = Field(
        "sdpa",
        description="Implementation of the attention. sdpa is PyTorch's own, fused where the device allows; "
        "flash_attention_2 needs a CUDA device, bfloat16 and the package flash-attn, otherwise it is an error.",
    )
    device_memory_gb: float | None = Field(
        None, gt=0, description="Memory of one device in 1e9 bytes; a plan that needs more is refused."
    )
    architecture: Architecture | None = Field(
        None, description="Sizes of the model, so that a plan can be made without it."
    )
    sentinels: tuple[Sentinel, ...] = Field((), description="Sentinel prompts with the expected behaviour.")
    sentinel_new_tokens: Positive = Field(24, description="New tokens per sentinel answer.")
    allow_bos: bool = Field(
        False,
        description="The tokenizer of this model family adds a beginning-of-sequence token by default; accept that "
        "difference. The token is not used here either way.",
    )
    format_may_follow: bool = Field(
        False,
        description="Accept a base model that fails at the instructions raw but follows them in the training format. "
        "Off: such a base stops the run, for there is little left to learn and the gate would measure the format.",
    )

    @property
    def loading(self) -> dict[str, str | float | bool]:
        """The fields that decide what the loaded weights are, as plain values."""
        names = {"device", "dtype", "quantization", "double_quantization", "int8_threshold", "attention"}
        return self.model_dump(mode="json", include=names)


# ------------------------------------------------------------------------------------------------------------ training


class Lora(Section):
    """The low-rank adapter."""

    r: Positive = Field(16, description="Rank.")
    alpha: Positive = Field(16, description="Scale: alpha / r, or alpha / sqrt(r) with rslora.")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(0.1, description="Dropout before the adapter.")
    target_modules: Annotated[tuple[str, ...], Field(min_length=1)] | Literal["all-linear"] = Field(
        "all-linear", description="Names of the adapted modules, or all-linear."
    )
    rslora: bool = Field(False, description="Rank-stabilised scaling.")
    bias: Literal["none"] = Field(
        "none",
        description="Always none: trained biases would change the base under its adapter, and the gate compares the two.",
    )

    @model_validator(mode="after")
    def _modules_once(self) -> "Lora":
        if isinstance(self.target_modules, tuple):
            _once(self.target_modules, "target_modules")
        return self


class EarlyStopping(Section):
    """Stop when the dev loss no longer falls; the adapter is then the one of the best evaluation."""

    patience: Positive = Field(3, description="Evaluations without an improvement after which the training stops.")
    min_delta: float = Field(0.0, ge=0, description="Fall of the dev loss (nats) that counts as an improvement.")


class SuccessCriteria(Section):
    """What a training must have reached to be called a success; each that is left out is not asked for."""

    min_loss_drop: float | None = Field(None, ge=0, description="Fall of the training loss from start to end, in nats.")
    min_dev_loss_drop: float | None = Field(None, ge=0, description="Fall of the dev loss, in nats.")
    min_accuracy_gain: Share | None = Field(None, description="Gain of the token accuracy, as a difference of shares.")
    max_perplexity: float | None = Field(None, gt=1, description="Perplexity on the dev split: exp of the dev loss.")


class Training(Section):
    """Hyperparameters of the fine-tuning; named as in the field, translated to TRL in training/options.py."""

    ASIDE: ClassVar[frozenset[str]] = frozenset(
        {
            # These stop, warn or judge: what they let through is trained the same.
            "max_truncated_share",
            "max_masked_share",
            "min_coverage",
            "max_coverage",
            "minimum",
            "optimal",
            "tokens_per_second",  # the plan's estimate of the time
            "report_to",  # where else the series go; they are no part of the adapter's digest
        }
    )
    """Fields that decide nothing of the adapter: another value neither trains anew nor refuses a resume."""

    lora: Lora = Field(Lora(), description="The adapter.")
    epochs: float | None = Field(
        None, gt=0, description="Passes over the training rows; exactly one of epochs and max_steps."
    )
    max_steps: Positive | None = Field(None, description="Optimiser steps; exactly one of epochs and max_steps.")
    batch_size: Positive = Field(8, description="Sequences per device and forward pass.")
    eval_batch_size: Positive | None = Field(
        None, description="Sequences per device in the evaluations on the dev split; default: batch_size."
    )
    gradient_accumulation: Positive = Field(1, description="Forward passes per optimiser step.")
    learning_rate: float = Field(2e-4, gt=0, description="Peak learning rate.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="Course of the learning rate after the warm-up."
    )
    warmup_ratio: Share = Field(
        0.03, description="Warm-up as a share of all steps; ignored when warmup_steps is given."
    )
    warmup_steps: int | None = Field(None, ge=0, description="Warm-up in steps.")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay of AdamW.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    optimizer: Literal["adamw_torch", "adamw_8bit", "paged_adamw_8bit"] = Field("adamw_torch", description="Optimiser.")
    max_length: Positive = Field(
        1024, description="Longest prompt + response in tokens; longer rows stop the run, see max_truncated_share."
    )
    max_truncated_share: Share = Field(0.0, description="Share of training rows that may be cut at max_length.")
    batching: Literal["plain", "grouped", "packed"] = Field(
        "grouped",
        description="plain: rows as they are drawn; grouped: rows of similar length in one batch, less padding; packed: "
        "the rows of a batch one after the other in one sequence, without seeing each other and without padding.",
    )
    gradient_checkpointing: bool = Field(False, description="Recompute activations: less memory, more time.")
    logging_steps: Positive = Field(10, description="Steps between two log rows.")
    eval_steps: Positive | None = Field(
        None, description="Steps between two evaluations on the dev split; default: save_steps."
    )
    save_steps: Positive = Field(100, description="Steps between two checkpoints.")
    keep_checkpoints: Literal["all", "best_and_last", "last"] = Field(
        "all", description="Which checkpoints stay beside the adapter: the series shows those that are kept."
    )
    adapter: Literal["last", "best"] = Field(
        "last", description="Which state is the result: the last, or the one with the lowest dev loss."
    )
    early_stopping: EarlyStopping | None = Field(None, description="Stop before the end; needs adapter: best.")
    validation_prompts: int = Field(
        3, ge=0, description="Prompts of the dev split that are answered at each evaluation, and kept."
    )
    report_to: tuple[Literal["tensorboard", "wandb", "mlflow"], ...] = Field(
        ("tensorboard",), description="Where the series of the training go, beside its own files."
    )
    processes: Positive = Field(1, description="Processes, each with a device of its own, launched by accelerate.")
    fsdp: bool = Field(False, description="Shard the model over the processes (FSDP-QLoRA); needs CUDA devices.")
    max_masked_share: Share = Field(0.0, description="Share of training rows that may lose all their labels.")
    tokens_per_second: float | None = Field(
        None, gt=0, description="Throughput that the plan's time estimate rests on, where it is known."
    )
    minimum: SuccessCriteria = Field(SuccessCriteria(), description="Without this the training counts as failed.")
    optimal: SuccessCriteria = Field(SuccessCriteria(), description="Short of this the report says so, no more.")
    seed: Seed = Field(
        11, description="Seed of the adapter's initial weights, of dropout and of the order of the rows."
    )
    max_coverage: float = Field(20.0, gt=0, description="Planned passes over the data above which the plan warns.")
    min_coverage: float = Field(1.0, gt=0, description="Planned passes over the data below which the plan is refused.")

    @model_validator(mode="after")
    def _length_of_run(self) -> "Training":
        if (self.epochs is None) == (self.max_steps is None):
            raise ValueError("give exactly one of epochs and max_steps")
        _once(self.report_to, "report_to")
        if self.early_stopping and self.adapter != "best":
            raise ValueError("early_stopping keeps the best state: set adapter: best")
        every = self.eval_steps or self.save_steps
        if (self.adapter == "best" or self.keep_checkpoints == "best_and_last") and self.save_steps % every:
            raise ValueError(
                f"the best checkpoint needs an evaluation at every checkpoint: save_steps ({self.save_steps}) must be a "
                f"multiple of eval_steps ({every})"
            )
        if self.fsdp and self.processes == 1:
            raise ValueError("fsdp shards over processes: set processes to the number of devices")
        return self

    @property
    def deciding(self) -> dict[str, Any]:
        """The fields that decide weights, log or files of the adapter, as plain values.

        Among them what is only kept or shown of a run (`adapter`, `keep_checkpoints`, `validation_prompts`, the
        intervals): a resumed run has to leave the same folder as an uninterrupted one.
        """
        return self.model_dump(mode="json", exclude=set(self.ASIDE))

    @property
    def effective_batch(self) -> int:
        """Sequences per optimiser step over all processes."""
        return self.batch_size * self.gradient_accumulation * self.processes


# ---------------------------------------------------------------------------------------------------------- generation


class Sampling(Section):
    """Random decoding with a seed. The gate accepts greedy answers only; a sample is for looking and for other tools."""

    temperature: float = Field(1.0, gt=0, description="Temperature of the softmax.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus: smallest set of tokens with this much probability.")
    top_k: Positive | None = Field(None, description="Only the k most probable tokens; default: all.")
    seed: int = Field(11, description="Seed of the random numbers.")


class Generation(Section):
    """Decoding, the same for base and fine-tuned model; greedy unless `sampling` is given."""

    engine: Literal["auto", "transformers", "vllm"] = Field(
        "auto",
        description="What generates. auto is vLLM where it is installed and the model runs on a CUDA device, otherwise "
        "transformers; the report names the engine that answered.",
    )
    max_new_tokens: Positive = Field(64, description="Longest answer in tokens.")
    batch_size: Positive = Field(64, description="Prompts per batch.")
    stop: tuple[str, ...] = Field((), description="An answer ends before the first of these strings.")
    sampling: Sampling | None = Field(None, description="Random decoding; default: greedy, which the gate asks for.")
    dtype: Literal["float32", "bfloat16"] | None = Field(
        None, description="Precision while answering, for both models; default: that of the training."
    )
    quantization: Literal["none", "nf4", "int8"] | None = Field(
        None, description="Quantisation while answering, for both models; default: that of the training."
    )
    repeat_sample: int = Field(
        50, ge=0, description="Items generated a second time, in another batch size, to measure the flip rate."
    )


# ---------------------------------------------------------------------------------------------------------- evaluation


class ScorerSpec(Section):
    """Which scorer judges a type of item, with its options."""

    kind: Literal[
        "exact",
        "numeric",
        "contains",
        "choice",
        "regex",
        "json_record",
        "json_schema",
        "item_list",
        "math",
        "think_answer",
        "ifeval",
        "code",
        "refusal",
        "answer",
        "judge",
        "judgements",
    ] = Field(description="Name of the scorer: one file in evaluation/scorers/.")
    options: dict[str, JsonValue] = Field({}, description="Options of that scorer.")


class Protected(Section):
    """Types that the fine-tuned model must not do worse at: non-inferiority by the lower bound of Tango's interval."""

    name: str = Field(description="Name of the guarantee in the report, such as safety.")
    types: tuple[str, ...] = Field(min_length=1, description="Item types, taken together.")
    margin: float = Field(gt=0, lt=1, description="Largest tolerated loss, as a difference of proportions.")


class Gate(Section):
    """When the adapter counts as better than its base."""

    alpha: float = Field(0.01, gt=0, lt=1, description="Significance level of the paired test over all items.")
    test: Literal["exact", "midp", "corrected"] = Field("exact", description="Which McNemar test decides.")
    min_lift: float = Field(
        0.0, ge=0, lt=1, description="Lift (difference of proportions) that must at least be reached."
    )
    max_interval_width: float = Field(0.25, gt=0, le=2, description="Widest acceptable 95 % interval of the lift.")
    false_discovery_rate: float = Field(0.10, gt=0, lt=1, description="Level of Benjamini–Hochberg over the types.")
    max_base_success: Share = Field(
        0.95, description="Headroom: a base that succeeds more often than this stops the run."
    )
    max_truncated_share: Share = Field(
        0.10, description="Answers of the fine-tuned model cut at max_new_tokens; above this the gate is refused."
    )
    max_base_truncated_share: Share = Field(
        0.50,
        description="The same for the base, which often goes on until it is cut: a limit of its own, for a cut answer "
        "must not be what makes the base fail.",
    )
    max_repetitive_share: Share = Field(
        0.10,
        description="Answers of the fine-tuned model of which repeated 4-grams make up over half; above this the gate is "
        "refused.",
    )
    max_missing_share: Share = Field(
        0.05, description="Pairs without a judgement on both sides; above this the gate is refused."
    )
    min_kappa: float = Field(
        0.7, ge=-1, le=1, description="Cohen's kappa of the scorers with human_labels that is asked for."
    )
    bootstrap_samples: Positive = Field(2000, description="Samples of the bootstrap by cluster.")
    bootstrap_seed: int = Field(11, description="Seed of that bootstrap.")
    protected: tuple[Protected, ...] = Field((), description="Non-inferiority guarantees.")
    undecided: Literal["fails", "passes"] = Field(
        "fails", description="What a guarantee that the items cannot decide does to the verdict."
    )
    expected_discordance: float = Field(
        0.2, gt=0, le=1, description="Share of discordant pairs that the power is planned for."
    )
    planned_lift: float = Field(0.10, gt=0, lt=1, description="True lift that the gate should be able to detect.")
    min_power: Share = Field(0.8, description="Power at planned_lift below which the plan is refused.")


class Series(Section):
    """The checkpoint series: which items, and which checkpoint counts as the best."""

    split: Literal["dev", "test"] = Field(
        "dev",
        description="dev, because a checkpoint that was chosen on the test split is judged on items that chose it.",
    )
    best: Literal["most_successes", "within_one_standard_error"] = Field(
        "most_successes",
        description="The earliest checkpoint with the most successes, or the earliest whose success rate lies within one "
        "standard error of it.",
    )


class Evaluation(Section):
    """How answers are judged and when the verdict is positive."""

    scorers: dict[str, ScorerSpec] = Field(description="Scorer by item type; the key `default` serves all others.")
    human_labels: str | None = Field(
        None,
        description="JSONL of id, output and success by humans, relative to the project's root: agreement of the scorers "
        "with it is part of the gate.",
    )
    run_code: bool = Field(
        False, description="Let the scorer `code` run what a model wrote. Off by default: it is foreign code."
    )
    series: Series = Field(Series(), description="The checkpoint series.")
    gate: Gate = Field(Gate(), description="The decision.")


class EvaluationOnly(Section):
    """A file with nothing but the evaluation, for outputs that were made elsewhere."""

    description: str = Field("", description="What the comparison is for.")
    evaluation: Evaluation = Field(description="How answers are judged and when the verdict is positive.")


# ---------------------------------------------------------------------------------------------------------- experiment


class Experiment(Section):
    """One experiment: what it trains on what, and how it will be judged."""

    description: str = Field(description="What the experiment is for, in a sentence or two.")
    prompt: Prompt = Field(Prompt(), description="The one prompt format.")
    data: Data = Field(description="From the raw source to the splits.")
    model: BaseModelSpec = Field(description="The base model.")
    training: Training = Field(description="The fine-tuning.")
    generation: Generation = Field(Generation(), description="The decoding.")
    evaluation: Evaluation = Field(description="Scorers and gate.")
