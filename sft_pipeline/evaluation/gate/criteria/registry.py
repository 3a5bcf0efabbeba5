"""Every criterion of the gate, in the order in which they are checked; docs/generate.py makes docs/reference/gate_criteria.md from it."""

from collections.abc import Iterator
from typing import Literal

from sft_pipeline.artifacts import Reason
from sft_pipeline.evaluation.gate.comparison import Comparison
from sft_pipeline.evaluation.gate.criteria import (
    human_labels,
    length,
    non_inferiority,
    people,
    sanity,
    statistic,
    stress,
)
from sft_pipeline.evaluation.gate.criteria.criterion import Criterion, Finding

_SAME = "Make both files from the same items, prompts and decoding, and run again."
_JUDGE = "Judge both models' answers in the same way, or have a sample labelled (evaluation.human_labels)."
_READ = (
    "Take a scorer that reads what both models write, let both end with the answer in the form it asks for, or, where a base "
    "honestly lacks that form, set evaluation.gate.max_unreadable_share: 1."
)
_LENGTH = "Judge the same answers by what they say: give the expected answers, a scorer that verifies, or human labels."
_MORE = "Add test items, or train a better adapter; the power says what these items could have found."


def _labels(c: Comparison) -> Iterator[Finding]:
    if c.agreement is not None:
        outcome, detail = human_labels.agreement(c.agreement, c.gate)
        yield Finding(detail, outcome)


PRECONDITIONS = (
    Criterion("same_items", "same items", "precondition", "All files hold the same items, once each.", remedy=_SAME),
    Criterion(
        "same_origin",
        "same origin",
        "precondition",
        "All inputs rest on one base model, adapter and test split.",
        remedy="Materialise the stale assets, then the gate.",
    ),
    Criterion(
        "same_conditions",
        "same conditions",
        "precondition",
        "Prompt, decoding, engine, device and precision are the same for both models; what the rows say of them (temperature, "
        "max_tokens, …) is equal and known on both sides or on none; two models of different size are no base and adapter.",
        remedy=_SAME,
    ),
    Criterion(
        "decoding", "decoding", "precondition", "Both models decode greedily.", remedy="Remove generation.sampling."
    ),
    Criterion(
        "same_prompt",
        "same prompt",
        "precondition",
        "Where a file says what was asked, both do, for the same items, and it is the same.",
        remedy=_SAME,
    ),
    Criterion(
        "same_reference",
        "same reference",
        "precondition",
        "Expected answers come from the items, or from both files alike.",
        remedy="Give the expected answers in a file of items (--items): whoever makes outputs does not set what is right.",
    ),
    Criterion(
        "base_model_guard",
        "base model guard",
        "precondition",
        "The base is a base: it does not follow instructions yet.",
        remedy="Name a base model, or accept the finding in the specification.",
    ),
    Criterion(
        "training",
        "training",
        "precondition",
        "The training has no blocking finding.",
        remedy="See the training report for what to change.",
    ),
    Criterion(
        "leakage",
        "leakage",
        "precondition",
        "No test item occurs in training, exactly or nearly.",
        remedy="Materialise split and training again from cleaned data.",
    ),
    Criterion(
        "data_quality",
        "data quality",
        "precondition",
        "The declared thresholds of the data hold.",
        remedy="Clean the data, or change the threshold with a reason.",
    ),
    Criterion("precision", "precision", "information", "The adapter answers on the precision that it was trained on."),
    Criterion("not_checked", "not checked", "information", "What the inputs cannot tell."),
    Criterion(
        "bad_references",
        "bad references",
        "information",
        "Which items are left out for both models, because their scorer cannot use their reference. Where they are more than a share "
        "of {max_bad_reference_share}, nothing is judged, and the command ends with an error.",
        thresholds=("max_bad_reference_share",),
        remedy="Correct these rows in the source, or give their type another scorer.",
    ),
    Criterion("inputs", "inputs", "information", "What the files were read as, and which score decides."),
    Criterion("judgements", "judgements", "information", "Who judged how many items."),
    Criterion(
        "repeated_questions", "repeated questions", "information", "How many items ask the same question nearly."
    ),
)
"""What whoever reads the inputs checks (files_gate.py, preconditions.py)."""

CRITERIA = (
    Criterion(
        "readable",
        "readable answers",
        "readability",
        "The scorer finds an answer, right or wrong, in all but a share of {max_unreadable_share} of either model's answers, "
        "be it without what stands around it.",
        sanity.readable,
        ("max_unreadable_share",),
        _READ,
    ),
    Criterion(
        "says_something",
        "answers that say nothing",
        "sanity",
        "Where blank answers, special tokens, runs of one sign, echoes of the prompt, error messages, and one text for "
        "everything are more than a share of {max_void_share} of a model's answers, the lift is significant without these "
        "pairs; of the fine-tuned model's they are at most half in any case. Up to that share the pairs without them are a "
        "restriction.",
        sanity.says_something,
        ("max_void_share",),
        "Check that the model was asked as it should be (template, server, limit of tokens) and generate again.",
        waived=True,
    ),
    Criterion(
        "own_items",
        "answers of other items",
        "sanity",
        "Each model's answers fit their own items, by rare words of the question and by the expected answers, better than "
        "those of other items.",
        sanity.own_items,
        (),
        "Join outputs and items by id, and generate again where the order was lost.",
    ),
    Criterion(
        "repetition",
        "repetition",
        "sanity",
        "Where repeated 4-grams make up over half of more than {max_repetitive_share} of the fine-tuned model's answers, the "
        "lift stands with these as failures. Not counted are answers that a verifier found right, tables of signs, and items "
        "whose expected answer repeats itself.",
        sanity.repetition,
        ("max_repetitive_share",),
        "Train on complete answers that end, or decode with stop strings.",
    ),
    Criterion(
        "empty_wins",
        "empty answers",
        "relabelling",
        "Wins of an answer that says nothing count as failures.",
        sanity.empty_wins,
        (),
        "Judge empty answers as failures.",
        waived=True,
    ),
    Criterion(
        "lenient_reading",
        "form or substance",
        "relabelling",
        "Failed answers of both models that are right when only the first line, paragraph, code block, JSON value, or the part "
        "before a further question is read count as successes.",
        stress.lenient_reading,
        (),
        "Give both models the same stop strings, or judge that part alone.",
    ),
    Criterion(
        "contained",
        "answer in the output",
        "relabelling",
        "Failed answers of both models that contain the expected one, of at most {expected_words} words, count as successes; "
        "decides where the base's output contains it in most won pairs. It tells nothing where failed answers contain those of "
        "other items 0.8 times as often.",
        stress.contained,
        ("expected_words",),
        "Give both models the same stop strings, or judge in a way that finds the answer in its surroundings.",
        waived=True,
    ),
    Criterion(
        "ambiguous",
        "several choices",
        "relabelling",
        "Answers that name the right answer among others count against the fine-tuned model: several choices, over half of the "
        "other expected answers, a list of eight things or more, or a second choice at the end.",
        stress.ambiguous,
        (),
        "Let both models say which one they mean (“The answer is B”) and judge by the scorer choice.",
        waived=True,
    ),
    Criterion(
        "contradicted",
        "judgements and expected answers",
        "relabelling",
        "Successes of both models that lack a known expected answer of at most three words count as failures, where judgements "
        "were supplied or the scorer does not compare with it.",
        stress.contradicted,
        ("expected_words",),
        "Correct the judgements or the expected answers.",
        waived=True,
    ),
    Criterion(
        "same_judgement",
        "same answer, same judgement",
        "relabelling",
        "Where both models gave one text and one of them succeeded, both count as failing. Without a verifier texts are one that "
        "differ in case, punctuation, or by an addition that five pairs or more have.",
        stress.same_judgement,
        (),
        _JUDGE,
    ),
    Criterion(
        "missing",
        "missing judgements",
        "relabelling",
        "At most {max_missing_share} of the pairs lack a judgement, and all of them count against the fine-tuned model.",
        stress.missing,
        ("max_missing_share",),
        "Judge them.",
    ),
    Criterion(
        "verified",
        "verified items",
        "restriction",
        "Only items that no heuristic judged alone; without heuristics only those that a verifier judged. Refused, too, where "
        "nothing but heuristics judged, or where a significant lift is zero or less without them or has a p above "
        "{max_support_p}.",
        stress.verified,
        ("max_support_p",),
        "Have a sample of the answers labelled (evaluation.human_labels), or add items that a verifier judges.",
        waived=True,
    ),
    Criterion(
        "similar_length",
        "similar lengths",
        "restriction",
        "Only pairs whose answers differ in length by a factor of at most {similar_length}. Decides where neither expected "
        "answers, nor scorers that compare with them or verify, nor the adjusted preference show that wins are not of length.",
        length.similar_length,
        ("similar_length",),
        _LENGTH,
        waived=True,
    ),
    Criterion(
        "uncut",
        "uncut answers",
        "restriction",
        "Only pairs in which no answer was cut; a degenerate one counts as uncut, for no limit would have ended it.",
        stress.uncut,
        (),
        "Let both models answer with a higher limit of new tokens, or with stop strings.",
    ),
    Criterion(
        "length",
        "score and length",
        "statistic",
        "Success is not one limit of length (shares of {length_explains} of successes and failures, of all and of the base's "
        "answers), in no type on which the lift hangs; and a logistic regression of winning on the log ratio of lengths leaves "
        "a preference at equal length. Refused otherwise. Wins count for neither where the base's answer lacks the expected "
        "one or its scorer cannot measure length.",
        length.length,
        ("length_explains", "similar_length"),
        _LENGTH,
        waived=True,
    ),
    Criterion(
        "truncation",
        "truncation",
        "share limit",
        "Answers cut at the limit of new tokens: at most {max_base_truncated_share} of the base's, {max_truncated_share} of the "
        "fine-tuned model's. Without a finish_reason answers count as cut that end unfinished at one length or inside a word, "
        "where a twentieth or more do.",
        sanity.truncation,
        ("max_base_truncated_share", "max_truncated_share"),
    ),
    Criterion(
        "headroom",
        "headroom",
        "share limit",
        "The base succeeds on at most {max_base_success} of the items; above that a lift is refused, and none is a failure.",
        statistic.headroom,
        ("max_base_success",),
        "Use harder items.",
    ),
    Criterion(
        "human_labels",
        "human labels",
        "share limit",
        "Cohen's kappa of the scorers with human labels is at least {min_kappa}, from {min_labels} labels on; with "
        "{min_labels_each} labels of each model that agree as well they support other criteria.",
        _labels,
        ("min_kappa", "min_labels", "min_labels_each"),
        "Correct the scorers, or judge again.",
    ),
    Criterion(
        "applied",
        "adapter applied",
        "statistic",
        "Not all answers of both models are one text.",
        sanity.applied,
        (),
        "Check that the adapter was loaded for the second file, and that it belongs to this base.",
    ),
    Criterion(
        "significance",
        "significance",
        "statistic",
        "McNemar's test below {alpha} with more won than lost.",
        statistic.significance,
        ("alpha",),
        _MORE,
    ),
    Criterion(
        "clusters",
        "clusters",
        "statistic",
        "The same when the two models are exchanged in whole clusters: items of one group, or that ask nearly the same.",
        statistic.clusters,
        ("alpha",),
        "Add items that ask other questions.",
    ),
    Criterion(
        "flips",
        "repeated run",
        "statistic",
        "The lift exceeds the share of items on which a repeated run of the same model differs (Tango's lower bound at "
        "1 − {alpha}).",
        statistic.flips,
        ("alpha", "flip_rate"),
        "Make generation deterministic, or add items.",
    ),
    Criterion(
        "min_lift",
        "minimum lift",
        "statistic",
        "The lift is at least {min_lift}.",
        statistic.min_lift,
        ("min_lift",),
        _MORE,
    ),
    Criterion(
        "width",
        "interval width",
        "statistic",
        "The 95 % interval of the lift is at most {max_interval_width} wide.",
        statistic.width,
        ("max_interval_width",),
        "Add test items.",
    ),
    Criterion(
        "worse_types",
        "types that get worse",
        "guarantee",
        "No type is significantly worse (Holm over all types at {alpha}), unless `may_worsen` names it.",
        statistic.worse_types,
        ("alpha",),
        "Train on items of that type as well, or allow it with evaluation.gate.may_worsen.",
    ),
    Criterion(
        "protected",
        "protected",
        "guarantee",
        "The lower bound of the difference of a protected group of types lies above its negative margin.",
        non_inferiority.guarantees,
        (),
        "Train on items of these types as well, or add test items of them.",
    ),
    Criterion(
        "people",
        "people's preference",
        "statistic",
        "Where `people` is prefer: people prefer the fine-tuned model in a human review of these answers, by a sign test below "
        "{alpha}; not_worse: the lower bound of their net preference lies above −{people_margin}. Refused without ratings of "
        "these answers. Alone it passes nothing.",
        people.preference,
        ("alpha", "people_margin"),
        "Hold a review of these answers (sft-pipeline review), or train a better adapter.",
    ),
    Criterion("ties", "ties", "information", "Pairs in which a judge found neither better.", statistic.ties),
    Criterion(
        "types",
        "types",
        "information",
        "Types that changed at a false discovery rate of {false_discovery_rate}.",
        statistic.discoveries,
        ("false_discovery_rate",),
    ),
    Criterion("power", "power achieved", "information", "What these items could have found.", statistic.power),
)
"""What looks at the comparison itself."""

_BY_ID = {criterion.id: criterion for criterion in (*PRECONDITIONS, *CRITERIA)}
NEEDS_TEXTS = {
    *("says_something", "own_items", "repetition", "empty_wins", "lenient_reading", "contained", "ambiguous"),
    *("contradicted", "same_judgement", "similar_length", "uncut", "length", "applied", "truncation"),
}
"""Criteria that read the answers themselves."""


def precondition(id: str, outcome: Literal["pass", "refused", "info"], detail: str, remedy: str = "") -> Reason:
    """A reason of a criterion that whoever reads the inputs checks."""
    return _BY_ID[id].reason(Finding(detail, outcome, remedy=remedy))
