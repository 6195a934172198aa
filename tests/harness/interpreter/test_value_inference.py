"""Every op that coremltools can evaluate itself gives the same result here.

coremltools' value inference folds an op whose inputs are constants, with numpy, when the program is built.
The same program is then evaluated by the executor, op by op. Shapes (rank 0 to 5, empty dimensions), dtypes
and values (zeros, halves, a spike past 256, float16's largest number) are drawn by hypothesis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import Operation
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from harness.interpreter import ReferenceModel

if TYPE_CHECKING:
    from collections.abc import Callable

EDGES = [0.0, -0.0, 0.5, 1.5, -2.5, 1e-3, 300.0, -300.0, 65504.0]
ULPS = {np.dtype(np.float16): 2.0**-10, np.dtype(np.float32): 2.0**-19}
"""Value inference rounds after every numpy step, in float16 for float16: a few ulps, not one."""

OPSETS = [ct.target.iOS15, ct.target.iOS17, ct.target.iOS18]


@dataclass(frozen=True)
class Drawn:
    """Draw arrays and numbers for one example."""

    draw: Any

    def shape(self, min_dims: int = 0, max_dims: int = 5, min_side: int = 0, max_side: int = 4) -> tuple[int, ...]:
        """Draw a shape."""
        return self.draw(hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side))

    def floats(self, shape: Any = None, low: float = -8.0, high: float = 8.0, edges: Any = EDGES, **k: Any) -> Any:
        """Draw a float16 or float32 array, edge values often among its elements."""
        dtype = self.draw(st.sampled_from([np.float16, np.float32]))
        inside = [e for e in edges if low <= e <= high]
        values = st.floats(low, high, width=16).map(float)
        elements = st.one_of(st.sampled_from(inside), values) if inside else values
        return self.draw(hnp.arrays(dtype, self.shape(**k) if shape is None else shape, elements=elements))

    def ints(self, low: int, high: int, shape: Any = None, **k: Any) -> Any:
        """Draw an int32 array."""
        shape = self.shape(**k) if shape is None else shape
        return self.draw(hnp.arrays(np.int32, shape, elements=st.integers(low, high)))

    def numbers(self, **k: Any) -> Any:
        """Draw an array of either kind."""
        return self.ints(-1000, 1000, **k) if self.flag() else self.floats(low=-1000, high=1000, **k)

    def integer(self, low: int, high: int) -> int:
        """Draw a number from low to high."""
        return self.draw(st.integers(low, high))

    def one(self, *choices: Any) -> Any:
        """Draw one of the choices."""
        return self.draw(st.sampled_from(choices))

    def flag(self) -> bool:
        """Draw a boolean."""
        return self.draw(st.booleans())

    def axis(self, rank: int) -> int:
        """Draw an axis, negative ones too."""
        return self.integer(-rank, rank - 1)

    def axes(self, rank: int) -> Any:
        """Draw some axes, negative ones too."""
        chosen = self.draw(st.sets(st.integers(0, rank - 1), min_size=1))
        return [a - rank if self.flag() else a for a in sorted(chosen)]

    def pair(self, low: int = -1000, high: int = 1000) -> tuple[Any, Any]:
        """Draw two arrays of one kind that broadcast."""
        shapes = self.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=5, max_side=4)).input_shapes
        if self.flag():
            return tuple(self.ints(low, high, shape) for shape in shapes)
        x = self.floats(shapes[0], low, high)
        return x, self.floats(shapes[1], low, high).astype(x.dtype)


def _unary(**kwargs: Any) -> Any:
    return lambda d: {"x": d.floats(**kwargs)}


def _binary(d: Drawn) -> dict[str, Any]:
    x, y = d.pair()
    return {"x": x, "y": y}


def _division(d: Drawn) -> dict[str, Any]:
    x, y = d.pair()
    assume(bool((np.asarray(y) != 0).all()))
    return {"x": x, "y": y}


def _power(d: Drawn) -> dict[str, Any]:
    x, y = d.pair(0, 4)
    return {"x": x, "y": y}


def _booleans(d: Drawn) -> dict[str, Any]:
    shapes = d.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=5, max_side=4)).input_shapes
    return {k: d.draw(hnp.arrays(np.bool_, shape)) for k, shape in zip("xy", shapes, strict=True)}


def _reduction(low: float = -8.0, **kwargs: Any) -> Any:
    def case(d: Drawn) -> dict[str, Any]:
        x = d.floats(low=low, min_dims=1, min_side=1, **kwargs) if d.flag() else d.ints(1, 9, min_dims=1, min_side=1)
        axes = {"axes": d.axes(x.ndim)} if d.flag() else {}
        return {"x": x, "keep_dims": d.flag(), **axes}

    return case


def _arg_reduction(d: Drawn) -> dict[str, Any]:
    x = d.numbers(min_dims=1, min_side=1)
    return {"x": x, "axis": d.axis(x.ndim), "keep_dims": d.flag()}


def _activation(**parameters: Any) -> Any:
    def case(d: Drawn) -> dict[str, Any]:
        x = d.floats()
        return {"x": x, **{k: x.dtype.type(v) for k, v in parameters.items()}}

    return case


def _channels(*names: str) -> Any:
    def case(d: Drawn) -> dict[str, Any]:
        x = d.floats(low=-4, high=4, min_dims=4, max_dims=4, min_side=1)
        return {"x": x, **{n: d.floats((x.shape[1],), 0.25, 2.0).astype(x.dtype) for n in names}}

    return case


def _slice(d: Drawn) -> dict[str, Any]:
    x = d.numbers(min_dims=1, min_side=1)
    strides = [d.draw(st.sampled_from([1, 1, 2, 3])) for _ in x.shape]
    begin = [d.integer(0, n - 1) for n in x.shape]
    end = [d.integer(b + 1, n) for b, n in zip(begin, x.shape, strict=True)]
    masks = {m: [d.flag() for _ in x.shape] for m in ("begin_mask", "end_mask")}
    signed = [b - n if d.flag() else b for b, n in zip(begin, x.shape, strict=True)]
    return {"x": x, "begin": signed, "end": end, "stride": strides, **masks}


def _reshape(d: Drawn) -> dict[str, Any]:
    x = d.numbers(min_dims=1, max_dims=4, min_side=1)
    shape = list(d.draw(st.permutations(list(x.shape))))
    if d.flag():
        shape[d.axis(len(shape))] = -1
    return {"x": x, "shape": np.array(shape, np.int32)}


def _gather(d: Drawn) -> dict[str, Any]:
    x = d.numbers(min_dims=1, max_dims=4, min_side=1)
    axis = d.axis(x.ndim)
    return {"x": x, "indices": d.ints(0, x.shape[axis] - 1, min_dims=1, max_dims=2, min_side=1), "axis": axis}


def _along(d: Drawn) -> dict[str, Any]:
    x = d.numbers(min_dims=1, max_dims=4, min_side=1)
    axis = d.axis(x.ndim)
    shape = list(x.shape)
    shape[axis] = d.integer(1, 4)
    return {"x": x, "indices": d.ints(-x.shape[axis], x.shape[axis] - 1, tuple(shape)), "axis": axis}


def _concat(d: Drawn) -> dict[str, Any]:
    x = d.numbers(min_dims=1, min_side=1)
    return {"values": [x, x[::-1].copy()], "axis": d.axis(x.ndim)}


def _pad(d: Drawn) -> dict[str, Any]:
    x = d.floats(min_dims=1, max_dims=4, min_side=2)
    mode = d.draw(st.sampled_from(["constant", "reflect", "replicate"]))
    pad = [d.integer(0, 1) for _ in range(2 * d.integer(1, x.ndim))]
    return {"x": x, "pad": np.array(pad, np.int32), "mode": mode, "constant_val": x.dtype.type(1.5)}


def _matmul(d: Drawn) -> dict[str, Any]:
    batch, (m, k, n) = d.shape(max_dims=2, min_side=1), (d.integer(1, 4) for _ in range(3))
    x = d.floats((*batch, m, k))
    return {"x": x, "y": d.floats((*batch, k, n)).astype(x.dtype)}


def _topk(d: Drawn) -> dict[str, Any]:
    x = d.numbers(min_dims=1, max_dims=3, min_side=1)
    axis = d.axis(x.ndim)
    assume(np.unique(np.asarray(x)).size == x.size)  # numpy's default sort leaves the order of equals open
    return {"x": x, "k": d.integer(1, x.shape[axis]), "axis": axis, "ascending": d.flag()}


def _sorting(d: Drawn) -> dict[str, Any]:
    return {k: v for k, v in _topk(d).items() if k != "k"}


def _layer_norm(d: Drawn) -> dict[str, Any]:
    x = d.floats(low=-2, high=2, min_dims=1, min_side=2)
    return {"x": x, "axes": d.axes(x.ndim), "epsilon": x.dtype.type(0.5)}


def _perm(d: Drawn) -> dict[str, Any]:
    x = d.numbers(min_dims=1)
    return {"x": x, "perm": list(d.draw(st.permutations(range(x.ndim))))}


def _shaped(name: str, make: Callable[[Drawn, Any], Any], **kwargs: Any) -> Any:
    def case(d: Drawn) -> dict[str, Any]:
        x = d.numbers(**kwargs)
        return {"x": x, name: make(d, x)}

    return case


def _select(d: Drawn) -> dict[str, Any]:
    x = d.numbers(min_dims=1)
    return {"cond": d.draw(hnp.arrays(np.bool_, x.shape)), "a": x, "b": (x[::-1] + 1).astype(x.dtype)}


def _band(d: Drawn) -> dict[str, Any]:
    return {"x": d.numbers(min_dims=2, min_side=1), "lower": d.integer(-1, 3), "upper": d.integer(-1, 3)}


def _l2(d: Drawn) -> dict[str, Any]:
    x = d.floats(low=-2, high=2, min_dims=3, min_side=1)
    return {"x": x, "epsilon": x.dtype.type(0.5)}


def _range(d: Drawn) -> dict[str, Any]:
    start, step = d.integer(-9, 9), d.draw(st.sampled_from([-3, -1, 1, 2]))
    kind = d.draw(st.sampled_from([np.int32, np.float32]))
    return {"start": kind(start), "end": kind(start + step * d.integer(1, 6)), "step": kind(step)}


def _quantize(d: Drawn) -> dict[str, Any]:
    x = d.floats(low=-300, high=300, min_dims=1).astype(np.float32)
    return {"input": x, "scale": np.float32(0.5), "zero_point": np.int8(3), "output_dtype": "int8"}


def _einsum(d: Drawn) -> dict[str, Any]:
    (b, c, h, w, u), batched = (d.integer(1, 4) for _ in range(5)), d.flag()
    x_shape, y_shape = (c, d.draw(st.sampled_from([1, h])), w), (w, h, u)
    if batched:
        x_shape, y_shape = (b, *x_shape), (d.draw(st.sampled_from([1, b])), *y_shape)
    x = d.floats(x_shape, -4, 4)
    equation = "nchw,nwhu->nchu" if batched else "chw,whr->chr"
    return {"values": (x, d.floats(y_shape, -4, 4).astype(x.dtype)), "equation": equation}


def _scatter_along(d: Drawn) -> dict[str, Any]:
    data = d.numbers(min_dims=1, max_dims=4, min_side=1)
    axis = d.axis(data.ndim)
    shape = list(data.shape)
    shape[axis] = d.integer(1, data.shape[axis])
    # Each place once: what a second update of it does is left open. coremltools evaluates no mode but "update".
    order = np.random.default_rng(d.integer(0, 99)).random(data.shape).argsort(axis)
    indices = np.take(order, range(shape[axis]), axis).astype(np.int32)
    updates = (np.resize(data, shape) + 1).astype(data.dtype)
    return {"data": data, "indices": indices, "updates": updates, "axis": axis, "mode": "update"}


def _slice_update(d: Drawn) -> dict[str, Any]:
    given = _slice(d)
    x, ones = given["x"], [1] * given["x"].ndim
    steps = given["stride"] if d.flag() else ones
    begin = [b + n if b < 0 else b for b, n in zip(given["begin"], x.shape, strict=True)]
    starts = [0 if skip else b for skip, b in zip(given["begin_mask"], begin, strict=True)]
    stops = [n if skip else e for skip, e, n in zip(given["end_mask"], given["end"], x.shape, strict=True)]
    shape = [len(range(*bounds)) for bounds in zip(starts, stops, steps, strict=True)]
    return {**given, "stride": steps, "update": (np.resize(x, shape) + 1).astype(x.dtype)}


def _attention(d: Drawn) -> dict[str, Any]:
    batch, (rows, keys, width, out) = d.shape(1, 3, 1, 3), (d.integer(1, 4) for _ in range(4))
    query = d.floats((*batch, rows, width), -2, 2)
    given = {
        "query": query,
        "key": d.floats((*batch, keys, width), -2, 2).astype(query.dtype),
        "value": d.floats((*batch, keys, out), -2, 2).astype(query.dtype),
    }
    kind = d.draw(st.sampled_from(["none", "bool", "float"]))
    if kind == "bool":
        mask = d.draw(hnp.arrays(np.bool_, (*batch, rows, keys)))
        mask[..., 0] = True  # a row that may look nowhere is 0 / 0
        return {**given, "attn_mask": mask}
    return given if kind == "none" else {**given, "attn_mask": np.resize(query, (*batch, rows, keys))}


def _cond(d: Drawn) -> dict[str, Any]:
    x = d.numbers(min_dims=1, min_side=1)
    y = (x[::-1] + 1).astype(x.dtype)
    return {"pred": d.flag(), "_true_fn": lambda: mb.identity(x=x), "_false_fn": lambda: mb.identity(x=y)}


CASES: dict[str, Any] = {
    **dict.fromkeys(("abs", "ceil", "floor", "round", "sign", "square", "relu", "relu6"), _unary(low=-300, high=300)),
    **dict.fromkeys(("cos", "sin", "tanh", "atan", "sigmoid", "softplus", "softsign"), _unary()),
    "erf": _unary(min_side=1),
    **dict.fromkeys(("exp", "exp2", "cosh", "sinh"), _unary(low=-5, high=5)),
    **dict.fromkeys(("acos", "asin", "atanh", "tan"), _unary(low=-0.875, high=0.875)),
    **dict.fromkeys(("sqrt", "log", "rsqrt", "inverse"), _unary(low=0.5, high=300)),
    **dict.fromkeys(("add", "sub", "mul", "maximum", "minimum"), _binary),
    **dict.fromkeys(("equal", "not_equal", "greater", "greater_equal", "less", "less_equal"), _binary),
    **dict.fromkeys(("floor_div", "mod", "real_div"), _division),
    "pow": _power,
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), _booleans),
    "logical_not": lambda d: {"x": d.draw(hnp.arrays(np.bool_, d.shape()))},
    **dict.fromkeys(("reduce_max", "reduce_min", "reduce_l1_norm", "reduce_log_sum_exp"), _reduction()),
    **dict.fromkeys(("reduce_sum", "reduce_mean", "reduce_log_sum", "reduce_prod"), _reduction(0.5, high=2.0)),
    **dict.fromkeys(("reduce_l2_norm", "reduce_sum_square"), _reduction(0.5, high=2.0)),
    **dict.fromkeys(("reduce_argmax", "reduce_argmin"), _arg_reduction),
    "clamped_relu": _activation(alpha=0.5, beta=2.0),
    "elu": _activation(alpha=0.5),
    "gelu": lambda d: {
        "x": d.floats(min_side=1),
        "mode": d.draw(st.sampled_from(["EXACT", "TANH_APPROXIMATION", "SIGMOID_APPROXIMATION"])),
    },
    "leaky_relu": _activation(alpha=0.25),
    "linear_activation": _activation(alpha=2.0, beta=-1.0),
    "scaled_tanh": _activation(alpha=1.5, beta=0.5),
    "sigmoid_hard": _activation(alpha=0.25, beta=0.5),
    "thresholded_relu": _activation(alpha=0.5),
    "clip": _activation(alpha=-1.0, beta=3.0),
    "threshold": _activation(alpha=0.5),
    "softplus_parametric": _channels("alpha", "beta"),
    "prelu": _channels("alpha"),
    "softmax": lambda d: {"x": (x := d.floats(min_dims=1, min_side=1)), "axis": d.axis(x.ndim)},
    "cast": _shaped("dtype", lambda d, _: d.draw(st.sampled_from(["int32", "fp16", "fp32", "bool"]))),
    "select": _select,
    "band_part": _band,
    "cumsum": lambda d: {"x": (x := d.ints(-9, 9, min_dims=1)), "axis": d.integer(0, x.ndim - 1), "reverse": d.flag()},
    "fill": lambda d: {"shape": np.array(d.shape(min_dims=1, min_side=1), np.int32), "value": 2.5},
    "non_zero": lambda d: {"x": d.ints(0, 1, min_dims=1)},
    "pad": _pad,
    "range_1d": _range,
    "tile": _shaped("reps", lambda d, x: [d.integer(1, 3) for _ in x.shape], min_dims=1),
    "argsort": _sorting,
    "topk": _topk,
    "flatten2d": _shaped("axis", lambda d, x: d.integer(1, x.ndim - 1), min_dims=2, min_side=1),
    "shape": _shaped("x", lambda _, x: x),
    "concat": _concat,
    "stack": _concat,
    "split": _shaped("axis", lambda d, x: d.axis(x.ndim), min_dims=1, min_side=1),
    "identity": _shaped("x", lambda _, x: x),
    "expand_dims": _shaped("axes", lambda d, x: [d.axis(x.ndim + 1)], max_dims=4),
    "squeeze": lambda d: {"x": d.numbers(shape=(1, *d.shape(1, 3, 2), 1)), "axes": [0]},
    "reverse": _shaped("axes", lambda d, x: d.axes(x.ndim), min_dims=1),
    "reshape": _reshape,
    "transpose": _perm,
    "slice_by_index": _slice,
    "slice_by_size": lambda d: {"x": (x := d.numbers(min_dims=1, min_side=1)), "begin": [0] * x.ndim, "size": x.shape},
    "gather": _gather,
    "gather_along_axis": _along,
    "matmul": _matmul,
    "linear": lambda d: {"x": (x := d.floats((2, 3))), "weight": d.floats((4, 3)).astype(x.dtype)},
    "layer_norm": _layer_norm,
    "l2_norm": _l2,
    "quantize": _quantize,
    "cond": _cond,
    "einsum": _einsum,
    "fill_like": lambda d: {"ref_tensor": d.numbers(min_dims=1, min_side=1), "value": d.one(2.5, 3, True)},
    "scatter_along_axis": _scatter_along,
    "slice_update": _slice_update,
    "scaled_dot_product_attention": _attention,
}

NOT_COMPARED = {
    "const": "a constant is what value inference starts from",
    "_const_symbolic": "no op of a program: coremltools' own stand-in for a shape that is not known",
    "list_length": "lists are no family of the executor",
    "reverse_sequence": "coremltools raises NotImplementedError('TODO')",
}
"""Ops that define value inference and have no case, with the reason."""

FIRST = {
    **dict.fromkeys(("slice_update", "scaled_dot_product_attention"), ct.target.iOS18),
    "fill_like": ct.target.iOS16,
}
"""The first opset of ops that iOS 15 lacks."""


def test_every_op_that_coremltools_evaluates_has_a_case() -> None:
    evaluated = {
        op_type
        for op_type, versions in SSAOpRegistry.core_ops.items()
        if any(kind.value_inference is not Operation.value_inference for kind in versions.values())
    }
    assert evaluated - CASES.keys() == NOT_COMPARED.keys()
    assert CASES.keys() <= evaluated


def _build(op_type: str, arguments: dict[str, Any], opset: Any) -> Any:
    @mb.program(input_specs=[mb.TensorSpec((1,))], opset_version=opset)
    def prog(unused: Any) -> Any:
        del unused
        return getattr(mb, op_type)(**arguments)

    return prog


def _arguments(op_type: str, drawn: Drawn) -> dict[str, Any]:
    arguments = CASES[op_type](drawn)
    if op_type == "split":
        arguments["split_sizes"] = [1, arguments["x"].shape[arguments["axis"]] - 1]
        assume(arguments["split_sizes"][1] > 0)
    if op_type == "slice_by_size":
        arguments["size"] = list(arguments["size"])
    return arguments


@pytest.mark.parametrize("op_type", CASES)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(data=st.data())
def test_agrees_with_coremltools(op_type: str, data: st.DataObject) -> None:
    drawn = Drawn(data.draw)
    arguments = _arguments(op_type, drawn)
    opsets = [ct.target.iOS17] if op_type == "quantize" else OPSETS
    opset = drawn.one(*(one for one in opsets if one >= FIRST.get(op_type, one)))
    with np.errstate(all="ignore"):
        program = _build(op_type, arguments, opset)
    outputs = program.functions["main"].outputs
    assume(all(var.val is not None for var in outputs))
    results = ReferenceModel(program, "fp16").predict({"unused": np.zeros(1)})
    for var, result in zip(outputs, results.values(), strict=True):
        expected = np.asarray(var.val)
        tolerance = ULPS.get(result.dtype, 0.0)
        scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=1.0)) if expected.dtype.kind == "f" else 1.0
        assert result.shape == expected.shape
        np.testing.assert_allclose(
            result.astype(np.float64), expected.astype(np.float64), rtol=4 * tolerance, atol=tolerance * scale
        )
