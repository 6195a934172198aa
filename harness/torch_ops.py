"""Torch ops that coremltools lacks or mistakes, registered from outside and only while the harness converts.

Each function translates one torch op into MIL, in the form coremltools' own frontend uses: it reads the
node's inputs from the context and adds the result under the node's name. To add one, write the function and
decorate it with `_op`; tests/harness/test_torch_ops.py holds each against torch.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OPS: dict[str, Callable[[Any, Any], None]] = {}
_MENDED: set[str] = set()


def _mended(function: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Take the place of a translation that coremltools has and that gives other values than torch."""
    _MENDED.add(function.__name__)
    return _op(function)


def _op(function: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    if function.__name__ in _OPS:
        raise ValueError(f"torch op {function.__name__!r} is translated twice")
    _OPS[function.__name__] = function
    return function


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """Let coremltools translate the ops of this module inside the ``with`` block, and only there.

    An op that coremltools has learnt by itself keeps coremltools' translation, unless it is one that is mended
    here. The registry is put back as
    it was, also after an exception. coremltools offers a public way to register but none to take back, hence
    the private registry.
    """
    from coremltools.converters.mil.frontend.torch import register_torch_op
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

    before = dict(_TORCH_OPS_REGISTRY.name_to_func_mapping)
    try:
        for name, function in _OPS.items():
            if name not in before or name in _MENDED:
                register_torch_op(function, override=name in _MENDED)
        yield
    finally:
        _TORCH_OPS_REGISTRY.name_to_func_mapping.clear()
        _TORCH_OPS_REGISTRY.name_to_func_mapping.update(before)


def names() -> tuple[str, ...]:
    """Return the torch ops translated here."""
    return tuple(_OPS)


def _inputs(context: Any, node: Any, expected: int | list[int] | None = None) -> Any:
    from coremltools.converters.mil.frontend.torch.ops import _get_inputs

    return _get_inputs(context, node, expected=expected)


@_op
def alias(context: Any, node: Any) -> None:
    """``aten.alias(x)``, which torch.export leaves where a module returned its own input: x itself."""
    (x,) = _inputs(context, node, expected=1)
    context.add(x, torch_name=node.name)


@_mended
def gelu(context: Any, node: Any) -> None:
    """``aten.gelu(x, approximate)``: torch.export passes ``approximate`` by keyword, where coremltools 9.0 does not look.

    It then takes the exact form for the tanh one: 4e-5 relative L2 in the logits of a two-layer Gemma 2.
    """
    from coremltools.converters.mil.mil import Builder as mb

    x, *rest = _inputs(context, node, expected=[1, 2])
    # Read as it stands: looked up like other inputs, the word "tanh" finds a variable of that name where there is one.
    (keyword,) = (node.kwinputs or {}).get("approximate", (None,))
    approximate = rest[0].val if rest else keyword
    mode = "TANH_APPROXIMATION" if approximate == "tanh" else "EXACT"
    context.add(mb.gelu(x=x, mode=mode, name=node.name))
