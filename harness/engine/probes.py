"""The rules of the engine model that name a value, each as a small MIL program that any Mac can run.

A probe has one float16 input ``x`` and one output. The published result may differ by family; the sources are those of
`harness.engine.families`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy.typing as npt

    Array = npt.NDArray[np.float16]

INF = float("inf")
SMALL = 2.0**-24


@dataclass(frozen=True, slots=True)
class Probe:
    """One rule, asked as a program.

    Parameters
    ----------
    name: in words.
    build: builds the program's body from ``x``.
    x: the input, a list of rows.
    published: the published result, if it is the same for every family measured.
    source: the publication.
    by_family: results that differ, by family.
    measured_on: the families it was measured on.
    """

    name: str
    build: Callable[[Any], Any]
    x: list[list[float]]
    published: tuple[float, ...]
    source: str
    measured_on: tuple[str, ...]
    by_family: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def array(self) -> Array:
        """The input as float16."""
        return np.array(self.x, np.float16)

    def expected(self, family: str) -> tuple[float, ...]:
        """Return the published or derived result for a family."""
        return self.by_family.get(family, self.published)


@dataclass(frozen=True, slots=True)
class Answer:
    """The values that a probe returned, or the reason why there are none."""

    probe: Probe
    values: tuple[float, ...]
    reason: str = ""


def _ones(x: Any) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    return mb.matmul(x=x, y=np.full((x.shape[-1], 1), 1.0, np.float16))


def _linear(x: Any) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    return mb.linear(x=x, weight=np.full((1, x.shape[-1]), 1.0, np.float16))


def _conv(x: Any) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    image = mb.reshape(x=x, shape=[1, -1, 1, 1])
    return mb.reshape(x=mb.conv(x=image, weight=np.full((1, x.shape[-1], 1, 1), 1.0, np.float16)), shape=[1, 1])


def _with(name: str, **constants: Any) -> Callable[[Any], Any]:
    """Return a builder of one op of ``x`` and constants."""

    def build(x: Any) -> Any:
        from coremltools.converters.mil.mil import Builder as mb

        return getattr(mb, name)(x=x, **constants)

    return build


def _sum(x: Any) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    return mb.reduce_sum(x=x, axes=[-1], keep_dims=True)


def _root(x: Any) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    return mb.sqrt(x=mb.add(x=x, y=np.float16(1e-6)))


def _minus_itself(x: Any) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    return mb.sub(x=x, y=x)


MEASURED = ("m1", "m2", "m4", "m5")
ROW = [[60000.0, 4094.0, 4096.0, 60000.0]]
PROBES = (
    Probe("matmul: 32,752 passes", _ones, [[16384, 16368]], (32752,), "G 3, F 115, F 145, F 195", MEASURED),
    Probe("matmul: infinite from 32,768", _ones, [[16384, 16384]], (INF,), "G 3, F 115, F 145, F 195", MEASURED),
    Probe("linear: infinite from 32,768", _linear, [[16384, 16384]], (INF,), "G 3, F 115, F 145, F 195", MEASURED),
    Probe("conv: infinite from 32,768", _conv, [[16384, 16384]], (INF,), "G 3, F 115, F 145, F 195", MEASURED),
    Probe("matmul sums wide: 16,384 ones", _ones, [[1.0] * 16384], (16384,), "G 3, F numerics", ("m1", "m5")),
    Probe("matmul: 4,096 and 1,024 ones", _ones, [[4096.0] + [1.0] * 1024], (5116,), "G 3", ("m1",)),
    Probe("reduce_sum: 2,048 ones", _sum, [[1.0] * 2048], (2048,), "F cliffs", ("m2", "m5")),
    Probe("reduce_sum: 2,049 ones", _sum, [[1.0] * 2049], (2050,), "F cliffs", ("m2", "m5")),
    Probe("mul: the whole range", _with("mul", y=np.float16(2)), [[32752]], (65504,), "G 3", ("m1",)),
    Probe("square: infinite from 256", _with("square"), [[255, 256]], (65024, INF), "G 3", ("m1",)),
    Probe("NaN is read as infinity", _with("add", y=np.float16(0)), [[float("nan")]], (INF,), "G 3", ("m1",)),
    Probe("infinity minus infinity", _minus_itself, [[INF]], (0.0,), "G 3", ("m1",)),
    Probe("0 times infinity", _with("mul", y=np.float16(INF)), [[0.0]], (0.0,), "G 3", ("m1",)),
    Probe("sqrt(-1)", _with("sqrt"), [[-1.0]], (0.0,), "G 3", ("m1",)),
    Probe("rsqrt(-1)", _with("rsqrt"), [[-1.0]], (0.0,), "G 3", ("m1",)),
    Probe("log(-1)", _with("log"), [[-1.0]], (0.0,), "G 3", ("m1",)),
    Probe("1 / -0", _with("inverse", epsilon=np.float16(0)), [[-0.0]], (INF,), "G 3", ("m1",)),
    Probe("subnormal, element-wise", _with("mul", y=np.float16(1)), [[SMALL]], (SMALL,), "G 3", ("m1",)),
    Probe(
        "subnormal sum of a matmul",
        _ones,
        [[SMALL, SMALL]],
        (2 * SMALL,),
        "G 3",
        ("m1", "m5"),
        dict.fromkeys(("m1", "m2", "m3"), (0.0,)),
    ),
    Probe("sqrt(0 + 1e-6)", _root, [[0.0]], (0.0,), "F 263", ()),
    Probe("exp: infinite from 11.094", _with("exp"), [[11.094]], (INF,), "G 3", ("m1",)),
    Probe("softmax of 1,000 and 1", _with("softmax", axis=-1), [[1000, 1]], (1.0, 0.0), "G 3", ("m1",)),
    Probe(
        "last-axis slice from 1",
        _with("slice_by_size", begin=[0, 1], size=[1, 2]),
        ROW,
        (4094, 4096),
        "G 3, F 137, F 145, F 195",
        MEASURED,
        dict.fromkeys(("m1", "m2", "m3"), (4094.0, INF)),
    ),
    Probe("last-axis slice from 0", _with("slice_by_size", begin=[0, 0], size=[1, 1]), ROW, (60000,), "G 3", ("m1",)),
)


def program(probe: Probe) -> Any:
    """Return a probe as a MIL program for iOS 17 with a float16 input ``x``."""
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    spec = mb.TensorSpec(probe.array.shape, dtype=types.fp16)

    def body(x: Any) -> Any:
        return mb.identity(x=probe.build(x), name="y")

    return mb.program(input_specs=[spec], opset_version=ct.target.iOS17)(body)


def save(probe: Probe, path: Path) -> None:
    """Save a probe as a package for the Neural Engine."""
    import coremltools as ct

    ct.convert(
        program(probe),
        convert_to="mlprogram",
        compute_units=ct.ComputeUnit.CPU_AND_NE,
        minimum_deployment_target=ct.target.iOS17,
        skip_model_load=True,
    ).save(str(path))


def family_of_chip(chip: str) -> str | None:
    """Return the family of a processor by its name, such as ``Apple M4 Pro``; None for one that has none here."""
    from harness.engine.families import load

    words = chip.lower().replace("-", " ").split()
    return next((key for key in load().families if key in words), None)
