"""Replace the result of an op by a new value, which is the only rewrite that the passes make.

The cost is proportional to the sites, not to the program. A block is entered without the walk over all of its ops that
coremltools makes on leaving one, constants that sites share are made once, and only ops that a rewrite has left
without a reader are removed. A program without a site is not changed.

Source: coremltools 9.0, ``coremltools.converters.mil.mil`` (``block.py``, ``builder.py``).
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import Block as MilBlock
from coremltools.converters.mil.mil import Builder

from ane_rms.attempt import Failure, attempt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from ane_rms.mil import Block, Op, Var


class Constants:
    """Constants of one block, each made once and placed before the block's first op, where every op can read it."""

    def __init__(self, block: Block) -> None:
        self._first = next(iter(block.operations))
        self._known: dict[tuple[str, tuple[int, ...], bytes], Var] = {}

    def get(self, value: npt.ArrayLike) -> Var:
        """Return the variable of a constant."""
        array = np.asarray(value)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = Builder.const(val=array if array.ndim else array[()], before_op=self._first)
        return self._known[key]


_constants: ContextVar[Constants | None] = ContextVar("_constants", default=None)
"""The constants of the block that this thread rewrites; None outside a rewrite."""


def constant(value: npt.ArrayLike) -> Any:
    """Return a constant that all sites of a block share; outside a rewrite, return the value itself.

    Making constants is most of the cost of a lowering: a norm has a dozen, which are the same at nearly every site.
    """
    constants = _constants.get()
    return value if constants is None else constants.get(value)


def rewrite_each(ops: Sequence[Op], build: Callable[[Op], Var]) -> None:
    """Replace the result of each of ``ops`` by the value that ``build`` makes, then remove ops that became unused."""
    visit_each(ops, lambda op: _replace(op, build(op)))
    remove_unused(ops)


def attempt_each(ops: Sequence[Op], build: Callable[[Op], Var]) -> list[tuple[Op, Failure]]:
    """Do the same as :func:`rewrite_each`, but leave an op unchanged if ``build`` raises.

    Returns
    -------
    The ops left unchanged, each with the exception.
    """
    failed: list[tuple[Op, Failure]] = []

    def act(op: Op) -> None:
        before = _preceding(op)
        done = attempt(lambda: _replace(op, build(op)))
        if isinstance(done, Failure):
            failed.append((op, done))
            _remove_between(before, op)

    visit_each(ops, act)
    left = {id(op) for op, _ in failed}
    remove_unused(op for op in ops if id(op) not in left)
    return failed


def _preceding(op: Op) -> Op | None:
    """Return the op before ``op`` in its block."""
    node = op.enclosing_block.operations._get_node_from_op(op).prev  # noqa: SLF001 - no public way is O(1)
    return None if node is None else node.op


def _remove_between(before: Op | None, op: Op) -> None:
    """Remove the ops built between two ops, the last first."""
    while (one := _preceding(op)) is not None and one is not before:
        one.remove_from_block()


def visit_each(ops: Sequence[Op], act: Callable[[Op], None]) -> None:
    """Call ``act`` for each of ``ops``, inside its block, with new ops placed before it.

    The last op is visited first, and inner blocks before enclosing ones. New ops read earlier values, and are updated
    when one of these is replaced in turn.
    """
    by_block: dict[int, list[Op]] = {}
    for op in reversed(ops):
        by_block.setdefault(id(op.enclosing_block), []).append(op)
    for members in by_block.values():
        with _entered(members[0].enclosing_block):
            for op in members:
                with Builder.set_before_op(op):
                    act(op)


class _Unchanged:
    """Leaves a block in the place of the block itself, without a walk over its ops.

    ``with block:`` ends in such a walk, which recomputes the compressed constants that each value comes from. Here
    these are kept: they are set for a new value when it is made, and are the same as those of the value it replaces,
    because it is made of the same inputs.
    """

    def _propagate_nonreplaceable_vars(self) -> None:
        """Keep what is set."""


@contextmanager
def _entered(block: Block) -> Iterator[None]:
    """Make the builder build in ``block``, and :func:`constant` share its constants, in this thread."""
    block.__enter__()
    token = _constants.set(Constants(block))
    try:
        yield
    finally:
        _constants.reset(token)
        MilBlock.__exit__(_Unchanged(), None, None, None)


def _replace(op: Op, new: Var) -> None:
    """Make every reader of ``op``'s result read ``new``, which is before ``op``."""
    op.enclosing_block.replace_uses_of_var_after_op(anchor_op=op, old_var=op.outputs[0], new_var=new)


def build_after(var: Var, build: Callable[[], Var]) -> Var:
    """Return the value that ``build`` makes right after ``var``, so that every reader of ``var`` can read it."""
    block = var.op.enclosing_block if var.op is not None else _block_of_input(var)
    ops = list(block.operations) if var.op is None or isinstance(block.operations, list) else None
    if ops is not None:
        at = 0 if var.op is None else ops.index(var.op) + 1
        following = ops[at] if at < len(ops) else None
    else:
        node = block.operations._get_node_from_op(var.op).next  # noqa: SLF001 - there is no public way to the next op
        following = None if node is None else node.op
    with _entered(block), Builder.set_before_op(following):
        new = build()
    block._copy_scope_info(var if var.op is not None else var.child_ops[0].outputs[0], new)  # noqa: SLF001 - of its passes
    return new


def _block_of_input(var: Var) -> Block:
    """Return the block that has ``var`` as an input."""
    block = var.child_ops[0].enclosing_block
    while var not in (block.inputs.values() if isinstance(block.inputs, dict) else block.inputs):
        block = block.outer_op.enclosing_block
    return block


def remove_unused(ops: Iterable[Op | None]) -> None:
    """Remove each of ``ops`` that nothing uses, and ops that only these used. Ops that contain blocks are kept."""
    pending = list(ops)
    while pending:
        op = pending.pop()
        if op is None or op.enclosing_block is None or op.blocks or any(_is_used(one) for one in op.outputs):
            continue
        given = op.get_flattened_inputs()
        op.remove_from_block()
        pending.extend(one.op for one in given)


def _is_used(var: Var) -> bool:
    return bool(var.child_ops or var.consuming_blocks)
