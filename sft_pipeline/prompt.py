"""How an instruction is put into the prompt's template.

Apart from the schema, because this is code that decides what a model sees: a change of it makes results anew, a change
of the schema does not (`lineage/code_versions.py`).
"""


def insert(template: str, instruction: str) -> str:
    """`template` with the text `instruction` in the place of `{instruction}`; nothing in either is evaluated."""
    return template.replace("{instruction}", instruction)
