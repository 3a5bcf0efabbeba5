"""Keys and values of a batch that is being completed, with room ahead for the tokens to come."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

ROOM = 64
"""Tokens for which there is room whenever more has to be allocated."""


def roomy_cache(model: "PreTrainedModel") -> "Cache | None":
    """An empty cache for one call of `model.generate`, which gives the same answers to the last bit as without it.

    The library's own allocates all keys and values anew for every token. On a CPU that is memory fresh from the system,
    page by page, and takes most of the time of a batch (docs/how-to/generation.md). Elsewhere allocators keep what they had, so
    there, and for models whose layers look back only so far, it is None: the library's own.
    """
    from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

    own = DynamicCache(config=model.config).layers
    if model.device.type != "cpu" or any(type(layer) is not DynamicLayer for layer in own):
        return None
    return Cache(layers=[_roomy_layer()() for _ in own])


@cache
def _roomy_layer():
    import torch
    from transformers.cache_utils import DynamicLayer

    class RoomyLayer(DynamicLayer):
        """`keys` and `values` (rows × heads × tokens × size of a head) are views of the beginning of larger tensors."""

        def __init__(self):
            super().__init__()
            self._room: tuple[torch.Tensor, torch.Tensor] | None = None

        def update(self, key_states, value_states, *args, **kwargs):
            if not self.is_initialized:
                self.lazy_initialization(key_states, value_states)
            states, start = (key_states, value_states), self.get_seq_length()
            end = start + key_states.shape[-2]
            if self._room is None or end > self._room[0].shape[-2]:
                rooms = tuple(s.new_empty((*s.shape[:-2], end + ROOM, s.shape[-1])) for s in states)
                if start:
                    for room, before in zip(rooms, (self.keys, self.values), strict=True):
                        room[..., :start, :] = before
                self._room = rooms
            for room, new in zip(self._room, states, strict=True):
                room[..., start:end, :] = new
            self.keys, self.values = (room[..., :end, :] for room in self._room)
            return self.keys, self.values

        def batch_select_indices(self, indices):
            super().batch_select_indices(indices)
            self._room = None  # it has the rows that were left out

    return RoomyLayer
