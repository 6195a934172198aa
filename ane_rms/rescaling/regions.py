"""Find the values that must be scaled together, and the ends of such a region.

The values, their readers and the ops between them are a graph. An edge joins values that have the same exponent unless
a multiplication is inserted between them, so cutting it costs one op. If a constant can take the difference there is no
edge. An op that needs exponent 0 is joined to the sink. The region of some values is their side of a minimum cut (Ford
and Fulkerson, "Maximal flow through a network", 1956) with the fewest multiplications and, among those cuts, the
smallest region. A value that the scale pushes towards float16's small end has a burden, which is weighed against
multiplications. The graph is built as it is walked, so its size is that of the region, not of the program.

No multiplication can be next to a value that exceeds float16, because it would read or write infinities. If a path of
such values leads to the sink, the region cannot be closed.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ane_rms.rescaling.reasons import reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from ane_rms.mil import Op, Var
    from ane_rms.rescaling.survey import Survey

    Node = tuple[str, Any]

SINK: Node = ("sink", None)
MULTIPLICATION = 1 << 8
"""The cost of a cut that one multiplication makes."""
NEVER = 1 << 30
"""The cost of a cut that would leave an infinity."""


class UnclosedRegionError(Exception):
    """A region that no multiplication can close.

    Attributes
    ----------
    seed: a value of the region.
    reason: a sentence that names the op.
    """

    def __init__(self, seed: Var, reason: str) -> None:
        super().__init__(reason)
        self.seed, self.reason = seed, reason


class Graph:
    """The values around given values of a program, as the nodes of a flow graph.

    Parameters
    ----------
    survey: of the program.
    over_range: values next to which no multiplication is possible.
    burdens: the costs of scaling particular values, in the unit of :data:`MULTIPLICATION`.
    """

    def __init__(
        self, survey: Survey, over_range: Collection[Var] = (), burdens: Mapping[Var, int] | None = None
    ) -> None:
        self.survey, self._over_range, self._burdens = survey, set(over_range), dict(burdens or {})
        self.relation = survey.relation
        self._leading: dict[Op, Var | None] = {}
        self._edges: dict[Node, dict[Node, int]] = {}

    def region(self, seeds: Iterable[Var]) -> list[Var]:
        """Return the values that are scaled together with ``seeds``, in the order of the walk.

        Raises
        ------
        UnclosedRegionError: if values that exceed float16 lead to an op that needs them unscaled.
        """
        starts = [("value", var) for var in seeds]
        flow: dict[tuple[Node, Node], int] = {}
        while True:
            came_from = self._walk(starts, flow)
            if SINK not in came_from:
                return [var for kind, var in came_from if kind == "value"]
            self._augment(came_from, flow)

    def components(self, region: Collection[Var]) -> list[list[Var]]:
        """Return the parts of a region that no multiplication and no constant separates."""
        left, found, inside = dict.fromkeys(region), [], set(region)
        while left:
            first = next(iter(left))
            members = [var for kind, var in self._connected(("value", first), inside) if kind == "value"]
            for var in members:
                del left[var]
            found.append(members)
        return found

    def closure(self, var: Var) -> list[Var]:
        """Return every value that is joined to ``var``, regardless of the cost of scaling them all."""
        return [one for kind, one in self._connected(("value", var), None) if kind == "value"]

    def touching(self, seed: Var, over: Collection[Var]) -> list[Var]:
        """Return the values over range that are connected to ``seed`` through values over range only."""
        return [one for kind, one in self._connected(("value", seed), set(over)) if kind == "value"]

    def _connected(self, start: Node, region: set[Var] | None) -> Iterator[Node]:
        seen, pending = {start}, deque([start])
        while pending:
            node = pending.popleft()
            yield node
            for other in self.edges(node):
                inside = region is None or other[0] == "op" or other[1] in region
                if other not in seen and other is not SINK and inside:
                    seen.add(other)
                    pending.append(other)

    def _walk(self, starts: list[Node], flow: dict[tuple[Node, Node], int]) -> dict[Node, Node | None]:
        """Return every node that is still reachable, with its predecessor; stop at the sink."""
        came_from: dict[Node, Node | None] = dict.fromkeys(starts)
        pending = deque(starts)
        while pending:
            node = pending.popleft()
            for other, cost in self.edges(node).items():
                if other not in came_from and cost > flow.get((node, other), 0):
                    came_from[other] = node
                    if other is SINK:
                        return came_from
                    pending.append(other)
        return came_from

    def _augment(self, came_from: dict[Node, Node | None], flow: dict[tuple[Node, Node], int]) -> None:
        path = [SINK]
        while (before := came_from[path[-1]]) is not None:
            path.append(before)
        steps = [(b, a) for a, b in pairwise(path)]
        room = min(self.edges(a)[b] - flow.get((a, b), 0) for a, b in steps)
        if room >= NEVER // 2:
            raise UnclosedRegionError(path[-1][1], reason(path[1], self.relation))
        for a, b in steps:
            flow[a, b] = flow.get((a, b), 0) + room
            flow[b, a] = flow.get((b, a), 0) - room

    def edges(self, node: Node) -> dict[Node, int]:
        """Return the neighbours of a node, each with the cost of a cut."""
        found = self._edges.get(node)
        if found is None:
            found = self._edges[node] = {}
            make = {"value": self._of_value, "readers": self._of_readers, "op": self._of_op}[node[0]]
            for other, var in make(node[1]):
                cost = NEVER if var in self._over_range else MULTIPLICATION
                found[other] = found.get(other, 0) + cost
            if node[0] == "value" and self._burdens.get(node[1]):
                found[SINK] = found.get(SINK, 0) + self._burdens[node[1]]
        return found

    def _of_value(self, var: Var) -> Iterator[tuple[Node, Var]]:
        if var.child_ops:
            yield ("readers", var), var
        if var.consuming_blocks:
            yield SINK, var
        if var.op is None:
            yield SINK, var
        elif self.leads(var.op, None) or self.squared(var.op):
            yield ("op", var.op), var
        elif not self._absorbs(var.op):
            yield SINK, var

    def _of_readers(self, var: Var) -> Iterator[tuple[Node, Var]]:
        yield ("value", var), var
        for op in dict.fromkeys(var.child_ops):
            rule = self.relation(op)
            if any(slot.of(op) is var for slot in rule.fixed):
                yield SINK, var
            elif any(slot.of(op) is var for slot in rule.equal):
                yield ("op", op), var
            elif not self._multiplies(op) and any(one.slot.of(op) is var for one in rule.factors):
                yield (("op", op) if self.leads(op, var) is var else SINK), var

    def _of_op(self, op: Op) -> Iterator[tuple[Node, Var]]:
        rule = self.relation(op)
        leading = [slot.of(op) for slot in rule.equal] or [self.leads(op, None)]
        for var in dict.fromkeys(leading):
            yield (("readers", var), var) if var else (SINK, self.squared(op))
        for var in rule.outputs:
            yield ("value", var), var

    def _multiplies(self, op: Op) -> bool:
        """Return whether a constant of ``op`` can take any exponent of its result."""
        multiplier = self.relation(op).multiplier
        return multiplier is not None and self.survey.may_scale(op, multiplier.slot.of(op))

    def _absorbs(self, op: Op) -> bool:
        rule = self.relation(op)
        only_constants = bool(rule.offsets) and not (rule.equal or rule.factors or rule.multiplier)
        return only_constants or self._multiplies(op)

    def leads(self, op: Op, touched: Var | None) -> Var | None:
        """Return the operand whose exponent the result has, or None; of two, the one that the walk came from.

        If the walk came from the result, it is the operand whose own writer can take the exponent. One that exceeds
        float16 itself comes first.
        """
        rule = self.relation(op)
        if rule.equal:
            return rule.equal[0].of(op)
        if not rule.factors or self._multiplies(op):
            return None
        if op not in self._leading:
            plain = [one.slot.of(op) for one in rule.factors if one.power == 1]
            over = [var for var in plain if var in self._over_range]
            if len({*plain}) < len(plain) or len(plain) == 0:
                self._leading[op] = None
            elif touched is not None and (touched in over or touched not in plain or not over):
                self._leading[op] = touched if touched in plain else None
            else:
                self._leading[op] = min(over or plain, key=self._distance)
        return self._leading[op]

    def squared(self, op: Op) -> Var | None:
        """Return the operand of a square or a higher power, one multiplication of which scales the result."""
        rule = self.relation(op)
        powers = {one.slot.of(op): one.power for one in rule.factors}
        twice = len(powers) == 1 and (len(rule.factors) > 1 or max(powers.values()) > 1)
        return next(iter(powers)) if twice and not self._multiplies(op) else None

    def _distance(self, var: Var) -> int:
        """Return the likely number of multiplications for scaling ``var``: 0 if its writers have constants."""
        seen, pending, cost = {var}, [var], 0
        while pending and cost == 0:
            op = pending.pop().op
            if op is None or (not self._absorbs(op) and not self._given(op)):
                cost += 1
            elif not self._absorbs(op):
                new = [one for one in self._given(op) if one not in seen]
                seen.update(new)
                pending.extend(new)
        return cost

    def _given(self, op: Op) -> list[Var]:
        rule = self.relation(op)
        if rule.equal:
            return [slot.of(op) for slot in rule.equal]
        plain = [one.slot.of(op) for one in rule.factors if one.power == 1]
        return plain if len(plain) == 1 else []
