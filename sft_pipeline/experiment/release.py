"""What is exported and released of a gated adapter."""

from typing import Literal

from pydantic import Field, model_validator

from sft_pipeline.experiment.section import Section, once

Kind = Literal["merged", "merged_dequantized", "gguf"]


class Export(Section):
    """Other forms of the adapter that are to be shipped; each answers the test split and is judged against the adapter."""

    kinds: tuple[Kind, ...] = Field(
        (),
        description="merged: into the base's unquantised weights; merged_dequantized: into the dequantised weights of the "
        "quantised base that it was trained on; gguf: the merged model by llama.cpp's converter. Each is a folder in the "
        "release.",
    )
    margin: float = Field(
        0.02,
        gt=0,
        lt=1,
        description="Largest tolerated loss against the gated adapter, as a difference of proportions; the lower bound of "
        "Tango's interval decides. 0.02 needs 189 items where nothing is lost.",
    )
    outputs: dict[Kind, str] = Field(
        {},
        description="Answers of an export that were made elsewhere, by kind: JSONL with id and output of every test item.",
    )
    gguf_type: str = Field("f16", pattern=r"^[a-z0-9_]+$", description="--outtype of llama.cpp's converter.")

    @model_validator(mode="after")
    def _kinds_once(self) -> "Export":
        once(self.kinds, "kinds")
        if extra := sorted(set(self.outputs) - set(self.kinds)):
            raise ValueError(f"outputs names {', '.join(extra)}, which is not among kinds")
        return self


class Release(Section):
    """What the release says besides what the artifacts know."""

    name: str | None = Field(None, description="Name of the model on its card; default: the experiment's.")
    license: str | None = Field(None, description="Licence of the adapter, as an SPDX identifier such as apache-2.0.")
    base_license: str | None = Field(None, description="Licence of the base model, which binds the adapter too.")
    limits: tuple[str, ...] = Field((), description="Known limits of the model for its card, a sentence each.")
    price_per_hour: float | None = Field(
        None,
        gt=0,
        description="Price of an hour of the machine; SFT_PIPELINE_PRICE_PER_HOUR at the run stands above it.",
    )
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$", description="Currency of the price, by ISO 4217.")
