"""Attention of packed rows by `torch.nn.attention.varlen`, through transformers' interface for attention functions.

The kernel takes the bounds of the rows instead of a mask, whose memory and time grow with the square of the joined length. It
runs on CUDA devices in 16 bits. Elsewhere each row's attention is computed alone, which is the same function. What is not
packed goes to PyTorch's scaled_dot_product_attention, as with `sdpa`.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NAME = "varlen"
"""Name of this attention in transformers."""

HEAD = 256
"""Widest head that the kernel computes."""


def register() -> None:
    """Make the attention known to transformers; more than once does no harm."""
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(NAME, attention)
    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, mask)


def mask(**given: Any) -> "torch.Tensor | None":
    """No mask for packed rows, whose bounds the attention gets; otherwise, and in narrower windows, that of sdpa."""
    from transformers.masking_utils import sdpa_mask

    window = given.get("local_size")
    packed = (
        given["batch_size"] == 1
        and given.get("attention_mask") is None
        and not given.get("allow_is_causal_skip", True)
        and not given.get("use_vmap")
        and given["q_length"] == given["kv_length"]
        and (window is None or window >= given["kv_length"])
    )
    return None if packed else sdpa_mask(**given)


def attention(
    module: "torch.nn.Module",
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: "torch.Tensor | None",
    dropout: float = 0.0,
    scaling: float | None = None,
    cu_seq_lens_q: "torch.Tensor | None" = None,
    max_length_q: int = 0,
    **options: Any,
) -> "tuple[torch.Tensor, None]":
    """Causal attention within each row.

    Args:
        module: the attention layer.
        query: 1 × heads × positions × width; `key` and `value` alike, with as many or fewer heads.
        key: see `query`.
        value: see `query`.
        attention_mask: a mask that has the bounds already.
        dropout: of the attention's weights.
        scaling: factor of the scores.
        cu_seq_lens_q: bounds of the rows, from 0 to the number of positions.
        max_length_q: positions of the longest row.
        options: what else sdpa takes.
    """
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if attention_mask is not None or cu_seq_lens_q is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **options
        )
    width = query.shape[-1]
    if query.is_cuda and query.dtype != torch.float32 and not dropout and value.shape[-1] == width <= HEAD:
        return kernel(query, key, value, cu_seq_lens_q, max_length_q, scaling), None

    @torch.compiler.disable  # the bounds are values, each other batch would be compiled again for them
    def rows() -> "torch.Tensor":
        parts = []
        for start, end in pairwise(cu_seq_lens_q.tolist()):
            of_row = (tensor[:, :, start:end] for tensor in (query, key, value))
            parts.append(sdpa_attention_forward(module, *of_row, None, dropout=dropout, scaling=scaling, **options)[0])
        return torch.cat(parts, 1)

    return rows(), None


def kernel(
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    bounds: "torch.Tensor",
    longest: int,
    scaling: float | None,
) -> "torch.Tensor":
    """PyTorch's kernel on 1 × heads × positions × width; gives 1 × positions × heads × width."""
    import torch
    from torch.nn.attention.varlen import varlen_attn

    packed = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    groups = query.shape[1] != key.shape[1]
    out = varlen_attn(*packed, bounds, bounds, longest, longest, scale=scaling, window_size=(-1, 0), enable_gqa=groups)
    assert isinstance(out, torch.Tensor)
    return out[None]
