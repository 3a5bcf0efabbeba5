"""The figures of cleaned data: thresholds, statistics, the libraries that decided, and what could not be judged."""

from collections.abc import Sequence
from importlib import metadata

from sft_pipeline.artifacts import InstructionDataset, LengthDistribution, QualityManifest, Threshold
from sft_pipeline.dataset.cleaning.clean_rows import Written
from sft_pipeline.dataset.cleaning.judging import Judging
from sft_pipeline.experiment import Quality, TokenBounds


def thresholds(
    raw: InstructionDataset,
    written: Written,
    judging: Judging,
    lengths: Sequence[LengthDistribution],
    quality: Quality,
) -> tuple[Threshold, ...]:
    """Every threshold that could be judged, with its value; the share of unreadable rows as it was judged on reading."""
    unreadable = raw.rejected.get("unreadable", 0)
    read = next((t.value for t in raw.thresholds if t.name == "unreadable_share"), unreadable / (raw.rows + unreadable))
    limits = [
        ("unreadable_share", read, quality.max_unreadable_share, "at most"),
        ("runaway_share", judging.matched["runaway"] / raw.rows, quality.max_runaway_share, "at most"),
        ("truncated_share", judging.matched["truncated"] / raw.rows, quality.max_truncated_share, "at most"),
        ("kept_share", written.rows / raw.rows, quality.min_kept_share, "at least"),
        ("delimiters_in_kept_rows", written.delimiters, 0, "at most"),
    ]
    if quality.token_limit and judging.counts_tokens:
        share = judging.matched["token_limit"] / raw.rows
        limits.append(("token_limit_share", share, quality.max_token_limit_share, "at most"))
    median = next((found.median for found in lengths if found.name == "response_tokens"), None)
    if quality.max_median_response_tokens and median is not None:
        limits.append(("median_response_tokens", median, quality.max_median_response_tokens, "at most"))
    if quality.critics != "ignored":
        limits += [
            (f"acceptance_{critic}", share, quality.min_acceptance, "at least")
            for critic, share in judging.acceptance().items()
        ]
    return tuple(Threshold(name=n, value=round(v, 6), limit=limit, direction=d) for n, v, limit, d in limits)


def statistics(manifest: QualityManifest) -> dict[str, float]:
    """Rows, unique instructions, and median, mean, 95th percentile and maximum of the lengths, by name."""
    found: dict[str, float] = {"rows": manifest.rows_kept, "unique_instructions": manifest.unique_instructions}
    for lengths in manifest.lengths:
        for name, value in (("median", lengths.median), ("mean", lengths.mean), ("p95", lengths.p95)):
            found[f"{lengths.name}_{name}"] = value
        found[f"{lengths.name}_max"] = lengths.largest
    return found


def libraries(quality: Quality) -> dict[str, str]:
    """The libraries that decided something, with their versions: another version may keep other rows."""
    asked = {
        "regex": True,  # what a word is
        "ftfy": quality.broken_characters,
        "py3langid": bool(quality.languages),
        **dict.fromkeys(("presidio-analyzer", "phonenumbers", "tldextract"), quality.personal_data is not None),
        "profanex": bool(quality.toxicity and quality.toxicity.words),
        "transformers": bool(quality.toxicity and quality.toxicity.classifier),
    }
    return {name: metadata.version(name) for name, used in asked.items() if used}


def not_judged(quality: Quality) -> tuple[str, ...]:
    """What is declared in tokens and was not judged for lack of a tokenizer, a sentence each."""
    declared = {
        "max_median_response_tokens": quality.max_median_response_tokens is not None,
        "token_limit": quality.token_limit is not None,
        "instruction_tokens": quality.instruction_tokens != TokenBounds(),
        "response_tokens": quality.response_tokens != TokenBounds(),
    }
    return tuple(
        f"{name} was not judged: there is no tokenizer to count with" for name, wanted in declared.items() if wanted
    )
