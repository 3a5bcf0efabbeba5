"""How much of the personal data in labelled texts does the filter find? Recall per entity, and texts flagged in error.

    .venv/bin/python benchmarks/data_personal.py FILE.json …

The files are those of Presidio's evaluator (https://github.com/microsoft/presidio-research): data/synth_dataset_v2.json and
tests/data/generated_large.json, lists of objects with full_text and spans of entity_type and entity_value.
"""

import json
import sys
from collections import Counter
from pathlib import Path

from sft_pipeline.dataset.filters.personal_data import personal_data
from sft_pipeline.experiment import PersonalData


def main() -> None:
    """Print a line for each entity."""
    texts = [text for path in sys.argv[1:] for text in json.loads(Path(path).read_text("utf-8"))]
    for entity in PersonalData().entities:
        judge = personal_data(PersonalData(entities=(entity,)))
        hits = judge([{"instruction": "", "response": text["full_text"]} for text in texts])
        counts: Counter[str] = Counter()
        for text, hit in zip(texts, hits):
            values = [span["entity_value"] for span in text["spans"] if span["entity_type"] == entity]
            found = hit.matched.split("; ") if hit else []
            counts["all"] += len(values)
            counts["found"] += sum(any(value in one or one in value for one in found) for value in values)
            counts["wrong"] += bool(hit and not values)
        print(f"{entity}: {counts['found']} of {counts['all']} found; {counts['wrong']} texts without any flagged")


if __name__ == "__main__":
    main()
