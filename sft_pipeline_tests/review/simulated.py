"""Raters that are simulated: they know which answer is better, and err in known ways."""

import json
from random import Random

from sft_pipeline.report.review import html
from sft_pipeline.review.make import texts_of
from sft_pipeline.review.returned import Returned, check_of


def rows(random, n=600, better=(0.5, 0.2)):
    """Pairs whose better answer is known: `better` are the shares of the fine-tuned model and of the base."""
    made, truth = [], {}
    for k in range(n):
        draw = random.random()
        truth[f"i{k}"] = "sft" if draw < better[0] else "base" if draw < sum(better) else "tie"
        # The scorers see something of it: a stratum has a preference of its own.
        base = random.random() < (0.3 if truth[f"i{k}"] == "sft" else 0.6)
        sft = random.random() < (0.3 if truth[f"i{k}"] == "base" else 0.6)
        made.append(
            {
                "id": f"i{k}",
                "type": "all",
                "instruction": f"question {k}",
                "base_output": f"left {k}",
                "sft_output": f"right {k}",
            }
            | {"base_success": base, "sft_success": sft, "verifier": True}
        )
    return made, truth


def answers(key, rater, truth, random, bias=0.0, error=0.0):
    """A rater's answers by task; with probability `bias` the first answer is chosen, then with `error` any of the three."""
    made = {}
    for task in key.tasks[rater]:
        true = "tie" if task.kind == "catch" else truth[task.item]
        side = "tie" if true == "tie" else "first" if (true == "base") == task.base_first else "second"
        if random.random() < bias:
            side = "first"
        elif random.random() < error:
            side = random.choice(["first", "tie", "second"])
        success = {"first": ("yes", "no"), "second": ("no", "yes"), "tie": ("yes", "yes")}[side]
        made[task.task] = {"first": success[0], "second": success[1], "better": side, "ms": 30_000}
    return made


def returned(key, rater, answers, session="one", saved="2026-01-01T00:00:00.000Z"):
    return Returned(
        request=key.request,
        rater=rater,
        page=key.pages[rater],
        session=session,
        saved=saved,
        answers=answers,
        source=f"{rater}.json",
    )


def save(key, whose, answers, folder, file=None, **changed):
    """A file as the page saves it."""
    review = {"request": key.request, "rater": whose, "page": html.texts_hash(key.guide, texts_of(key, whose))}
    review |= {"session": "one", "saved": "2026-01-01T00:00:00.000Z"}
    review |= {"answers": answers, **changed}
    path = folder / (file or f"{whose}.json")
    path.write_text(
        json.dumps({"review": review, "check": check_of(review)}, ensure_ascii=False, separators=(",", ":"))
    )
    return path


def rng(seed):
    return Random(seed)
