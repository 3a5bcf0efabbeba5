"""A description of a dataset's files in Croissant 1.1, the JSON-LD vocabulary that dataset tools read.

Specification: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html. Licence, creator, address and date of
publication, which it also asks for, belong to whoever publishes the dataset: they are not known here, and not made up.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sft_pipeline.dataset.table import row_schema
from sft_pipeline.provenance.hashing import hash_file

# The registered media type, and the one that came before it: readers of Croissant files still look for that one.
_PARQUET = ["application/vnd.apache.parquet", "application/x-parquet"]

_TYPES = {pa.string(): "sc:Text", pa.int64(): "sc:Integer"}

_SPLITS = {"train": "cr:TrainingSplit", "dev": "cr:ValidationSplit", "test": "cr:TestSplit"}

_DESCRIPTIONS = {
    "id": "Content hash of instruction, response, type and reference.",
    "instruction": "What is asked for.",
    "response": "The answer.",
    "type": "Kind of the item.",
    "group": "Rows of the same group never stand on two sides of a split.",
    "reference": "JSON object: what the type's scorer needs.",
    "critics": "JSON object: verdict by critic, where there are any.",
    "source_file": "File that the row was read from.",
    "source_row": "Line or position in that file, from 1.",
    "conversation": "JSON object: messages and tools, where the row is a conversation.",
}


def write(folder: Path, name: str, parts: Mapping[str, Path], *, description: str) -> None:
    """Write croissant.json, the description of one or several tables of rows; the same files give the same bytes.

    Args:
        folder: the folder to write it to; the addresses of the files are relative to it.
        name: name of the dataset.
        parts: Parquet files with the schema table.ROW, below `folder`, by the name of their record set. The names
            train, dev and test are splits: their records carry the field `split`.
        description: what the dataset is, in a sentence or two.

    Raises:
        ValueError: a part is not below `folder`.
    """
    addresses = {part: path.relative_to(folder).as_posix() for part, path in parts.items()}
    (folder / "croissant.json").write_text(text(name, parts, addresses, description=description), "utf-8")


def text(name: str, parts: Mapping[str, Path], addresses: Mapping[str, str], *, description: str) -> str:
    """The content of croissant.json.

    Args:
        name: name of the dataset.
        parts: as in `write`, anywhere.
        addresses: of these files as it names them.
        description: what the dataset is.
    """
    splits = [part for part in parts if part in _SPLITS]
    content = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": name,
        "description": description,
        "distribution": [_file(part, addresses[part], path) for part, path in parts.items()],
        "recordSet": ([_split_names(splits)] if splits else [])
        + [_records(part, path) for part, path in parts.items()],
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _file(part: str, address: str, path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        # Not the path: an identifier is an IRI, in which a blank or a per cent sign would not do.
        "@id": f"files/{part}",
        "name": path.name,
        "contentUrl": address,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": _PARQUET,
        "sha256": hash_file(path),
    }


def _records(part: str, path: Path) -> dict[str, Any]:
    """The record set of one file; its records belong to one split, so that the split is a constant of it."""
    file = {"@id": f"files/{part}"}
    fields: list[dict[str, Any]] = [
        {
            "@type": "cr:Field",
            "@id": f"{part}/{field.name}",
            "name": field.name,
            "description": _DESCRIPTIONS[field.name],
            "dataType": _TYPES[field.type],
            "source": {"fileObject": file, "extract": {"column": field.name}},
        }
        for field in row_schema(path)
    ]
    if part in _SPLITS:
        fields.append(
            {
                "@type": "cr:Field",
                "@id": f"{part}/split",
                "name": "split",
                "description": "Split that the row belongs to.",
                "dataType": "sc:Text",
                # The specification's term, and schema.org's in its place, which is what mlcroissant reads.
                "cr:value": part,
                "sc:value": part,
                "references": {"field": {"@id": "splits/name"}},
            }
        )
    return {
        "@type": "cr:RecordSet",
        "@id": part,
        "name": part,
        "description": f"{pq.read_metadata(path).num_rows} rows.",
        "field": fields,
    }


def _split_names(splits: list[str]) -> dict[str, Any]:
    """What the names of the splits mean: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html#splits."""
    return {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "name": "splits",
        "description": "Names of the splits.",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            {"@type": "cr:Field", "@id": "splits/name", "name": "name", "dataType": "sc:Text"},
            {"@type": "cr:Field", "@id": "splits/url", "name": "url", "dataType": ["sc:URL", "cr:Split"]},
        ],
        "data": [{"splits/name": split, "splits/url": _SPLITS[split]} for split in splits],
    }


_TERMS = (
    ("annotation", "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "excludes", "extract")
    + ("field", "fileProperty", "fileObject", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath")
    + ("key", "md5", "parentField", "path", "readLines", "recordSet", "references", "regex", "repeated", "replace")
    + ("samplingRate", "sdVersion", "separator", "source", "subField", "transform", "unArchive")
)

# Appendix 1 of the specification, with schema.org's secure addresses and the few older terms that mlcroissant expects.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _TERMS},
}
