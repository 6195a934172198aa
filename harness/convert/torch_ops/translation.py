"""Lend translations of torch ops to coremltools, and provide the helpers that translations share."""

from __future__ import annotations

import contextlib
import copy
import functools
from typing import TYPE_CHECKING, Any

import torch
from coremltools.converters.mil.frontend.torch.ops import _get_inputs

from ane_rms.coremltools_patches.guard import replacing
from ane_rms.coremltools_patches.lending import loan_of_torch_ops, loans_to_frontend, torch_ops
from ane_rms.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Translation = Callable[[Any, Any], None]
    Mend = Callable[[Translation, Any, Any], None]

_OPS: Registry[Translation] = Registry("translation of a torch op")
_MENDS: Registry[Mend] = Registry("mend of a torch op")
_COMPLEX64 = {torch.complex64: 9}  # torch's number of the type in a trace


def op(*names: str) -> Callable[[Translation], Translation]:
    """Register a translation of torch ops that coremltools lacks.

    The function has the signature of coremltools' own translations: given (context, node), it reads the node's
    inputs from the context and adds the result under the node's name.
    """

    def add(translation: Translation) -> Translation:
        for name in names:
            _OPS.add(name, translation, translation)
        return translation

    return add


def mend(*names: str) -> Callable[[Mend], Mend]:
    """Register a replacement of coremltools' translation, which the function receives as its first argument."""

    def add(function: Mend) -> Mend:
        for name in names:
            _MENDS.add(name, function, function)
        return function

    return add


def names() -> tuple[str, ...]:
    """Return the names of the torch ops that are translated or mended."""
    return (*_OPS, *_MENDS)


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """Let coremltools use the translations inside the ``with`` block, in this thread.

    An op that the installed coremltools translates keeps coremltools' translation; a mend wraps the one it has.
    coremltools has a public function to register a translation but none to remove it, so the entries are lent to
    its private registry, and the complex types to its table of types, which lacks them.
    """
    known = torch_ops().name_to_func_mapping
    lacking = {name: translation for name, translation in _OPS.items() if name not in known}
    mends = {name: functools.partial(function, known[name]) for name, function in _MENDS.items()}
    with replacing([loan_of_torch_ops(lacking | mends), *loans_to_frontend({"TORCH_DTYPE_TO_NUM": _COMPLEX64})]):
        yield


def translation(name: str) -> Translation:
    """Return the translation of a torch op that coremltools currently uses."""
    found: Translation = torch_ops().name_to_func_mapping[name]
    return found


def inputs(context: Any, node: Any) -> list[Any]:
    """Return a node's inputs: variables, lists of them, or None."""
    found: list[Any] = _get_inputs(context, node)
    return found


def with_input(context: Any, node: Any, index: int, value: Any, name: str = "") -> Any:
    """Return a copy of a node, renamed if a name is given, with one input replaced by a given value."""
    input_name = f"{name or node.name}_input_{index}"
    context.add(value, torch_name=input_name)
    replaced = copy.copy(node)
    replaced.name = name or node.name
    replaced.inputs = [*node.inputs[:index], input_name, *node.inputs[index + 1 :]]
    return replaced
