"""A KV cache that is allocated ahead of the tokens to come."""

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

AHEAD = 64
"""Tokens allocated beyond those at hand whenever the cache has to grow."""


def preallocated_cache(model: "PreTrainedModel") -> "Cache | None":
    """An empty cache for one call of `model.generate`, which gives the same answers to the last bit as without it.

    The library's own allocates all keys and values again for every token. On a CPU that is memory fresh from the system,
    page by page, and takes most of the time of a batch (docs/how-to/generation.md). Other devices' allocators reuse memory:
    there, and for models with sliding or recurrent layers, it is None, and the library's own is used.
    """
    from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

    own = DynamicCache(config=model.config).layers
    if model.device.type != "cpu" or any(type(layer) is not DynamicLayer for layer in own):
        return None
    return Cache(layers=[_preallocated_layer()() for _ in own])


@cache
def _preallocated_layer() -> type:
    import torch
    from transformers.cache_utils import DynamicLayer

    class PreallocatedLayer(DynamicLayer):
        """`keys` and `values` (rows × heads × tokens × size of a head) are views of the beginning of larger tensors."""

        keys: torch.Tensor
        values: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self._buffers: tuple[torch.Tensor, torch.Tensor] | None = None

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
        ) -> tuple[torch.Tensor, torch.Tensor]:
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            states, start = (key_states, value_states), self.get_seq_length()
            end = start + key_states.shape[-2]
            if self._buffers is None or end > self._buffers[0].shape[-2]:
                buffers = tuple(s.new_empty((*s.shape[:-2], end + AHEAD, s.shape[-1])) for s in states)
                if start:
                    for buffer, before in zip(buffers, (self.keys, self.values), strict=True):
                        buffer[..., :start, :] = before
                self._buffers = buffers
            for buffer, new in zip(self._buffers, states, strict=True):
                buffer[..., start:end, :] = new
            self.keys, self.values = (buffer[..., :end, :] for buffer in self._buffers)
            return self.keys, self.values

        def batch_select_indices(self, indices: torch.Tensor) -> None:
            super().batch_select_indices(indices)
            self._buffers = None  # it still has the rows that were left out

    return PreallocatedLayer
