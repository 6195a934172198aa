"""Replace rotary position embeddings by tables, for programs whose position is an input.

If positions are constants, cosines and sines are too. If a position is an input, a float16 program would compute
cos(position * frequency) in float16, whose angles near 1,000 are half a radian apart. A table of the float32 values
with one row for each position has no such error, and needs one gather.
"""

from __future__ import annotations

import contextlib
import inspect
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


class RotaryTable(torch.nn.Module):
    """Replaces a rotary embedding by a look-up of rows, which the module itself computed once for every position.

    Parameters
    ----------
    rotary: called as ``rotary(x, position_ids, ...)``; gives cosines and sines, each (1, positions, width), float.
    length: number of positions, starting at 0.
    """

    def __init__(self, rotary: torch.nn.Module, length: int) -> None:
        super().__init__()
        self._rotary = [rotary]  # a list, so that it is not a submodule whose buffers enter the program
        self._length = length
        self._tables: dict[str, tuple[str, str]] = {}

    def forward(
        self, x: torch.Tensor, position_ids: torch.Tensor, *rest: Any, **named: Any
    ) -> tuple[torch.Tensor, ...]:
        """Return cosines and sines at ``position_ids`` (1, S); further arguments, such as a layer type, choose a table.

        The first call with such arguments makes the table, and must happen before a trace.
        """
        key = "_".join(map(str, (*rest, *named.values())))
        if key not in self._tables:
            every = torch.arange(self._length, device=position_ids.device)[None]
            names = (f"cos_{key}", f"sin_{key}")
            for name, table in zip(names, self._rotary[0](x, every, *rest, **named), strict=True):
                self.register_buffer(name, table[0].detach().clone(), persistent=False)
            self._tables[key] = names
        tables = (getattr(self, name) for name in self._tables[key])
        return tuple(torch.nn.functional.embedding(position_ids, table).to(x.dtype) for table in tables)


def _is_rotary(module: torch.nn.Module) -> bool:
    """Whether a module is a rotary embedding of real cosines and sines, by class name, signature and one call."""
    parameters = list(inspect.signature(module.forward).parameters)
    if not type(module).__name__.endswith("RotaryEmbedding") or parameters[:2] != ["x", "position_ids"]:
        return False
    types = getattr(getattr(module, "config", None), "layer_types", None) or ["full_attention"]
    rest = [types[0]] if "layer_type" in parameters else []
    with torch.no_grad():
        made = module(torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.long), *rest)
    return isinstance(made, tuple) and len(made) == 2 and all(part.is_floating_point() for part in made)


def _changes_with_length(rotary: torch.nn.Module) -> bool:
    """Whether a rotary embedding chooses its frequencies in each call by the largest position it sees."""
    kinds = getattr(rotary, "rope_type", "default")
    return any(
        "dynamic" in kind or kind == "longrope" for kind in (kinds.values() if isinstance(kinds, dict) else [kinds])
    )


@contextlib.contextmanager
def tabled(network: torch.nn.Module, length: int, *, only_changing: bool = False) -> Iterator[int]:
    """Replace a network's rotary embeddings by tables inside a ``with`` block, and yield the number of those replaced.

    Parameters
    ----------
    network: a transformers model.
    length: number of positions.
    only_changing: whether to replace only those of the kinds ``longrope`` and ``dynamic``, which choose their
    frequencies by the positions. coremltools cannot convert that choice, not even for constant positions. The
    others become constants in a program whose positions are constant.
    """
    replaced: list[tuple[torch.nn.Module, str, torch.nn.Module]] = []
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if _is_rotary(child) and (_changes_with_length(child) or not only_changing):
                replaced.append((parent, name, child))
                setattr(parent, name, RotaryTable(child, length))
    try:
        yield len(replaced)
    finally:
        for parent, name, child in replaced:
            setattr(parent, name, child)
