"""Random networks that keep keys and values in states: a rescale leaves their outputs and their states alone."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types
from coremltools.optimize import coreml as compression
from hypothesis import given, settings
from hypothesis import strategies as st

import ane_rms
from ane_rms.passes.rescale import rescale_program
from ane_rms.report import kept_report
from harness.interpreter import ReferenceModel
from tests.ane_rms.rescaling import networks
from tests.ane_rms.rescaling.networks import WIDTH, Network
from tests.mil_tools import NE

POSITIONS = 4
TOKENS = (3, 1, 4)


class Decoder(Network):
    """A network of one token a call, whose keys and values are states of float16."""

    def __init__(self, draw, generator, size, values=1.0):
        super().__init__(draw, generator, size)
        self.values, self.states = values, {}

    def attention(self, x):
        """Write a key and a value into the states, and attend to what they hold."""
        q, k, v = (self.linear(x, WIDTH, size) for size in (1.0, 1.0, self.values))
        if self.draw("normed queries"):
            q, k = self.norm(q), self.norm(k)
        k, v = (self.kept(one) for one in (k, v))
        reached = mb.less_equal(x=np.arange(POSITIONS, dtype=np.int32), y=self.states["position"])
        mask = mb.select(cond=reached, a=np.float32(0), b=np.float32(-1e4))
        scores = mb.mul(x=mb.matmul(x=q, y=k, transpose_y=True), y=np.float32(WIDTH**-0.5))
        shares = mb.softmax(x=mb.add(x=scores, y=mask), axis=-1)
        return self.linear(mb.matmul(x=shares, y=v), WIDTH, self.size / self.values)

    def kept(self, x):
        """Write a row into the next state, and return all of its rows."""
        state = self.states[f"state_{self.states['used']}"]
        self.states["used"] += 1
        at = self.states["position"]
        end = mb.add(x=at, y=np.int32(1))
        begin, end = (mb.concat(values=[one, np.array([0], np.int32)], axis=0) for one in (at, end))
        rows = mb.slice_update(
            x=mb.read_state(input=state), update=mb.cast(x=x, dtype="fp16"), begin=begin, end=end,
            end_mask=[False, True],
        )  # fmt: skip
        return mb.cast(x=mb.coreml_update_state(state=state, value=rows), dtype="fp32")

    def program(self):
        """Return the network as a program of one token, its position, and four states."""
        states = [mb.StateTensorSpec((POSITIONS, WIDTH), dtype=types.fp16) for _ in range(4)]
        numbers = [mb.TensorSpec((1,), dtype=types.int32) for _ in range(2)]

        @mb.program(input_specs=[*numbers, *states], opset_version=ct.target.iOS18)
        def network(ids, position, state_0, state_1, state_2, state_3):
            self.states = {f"state_{n}": one for n, one in enumerate((state_0, state_1, state_2, state_3))}
            self.states |= {"position": position, "used": 0}
            return self.outputs(ids)

        return network


def decoded(program, precision="fp64", note=None):
    """Return the outputs of every token and the final states."""
    model = ReferenceModel(program, precision)
    state, outputs = model.make_state(), []
    with model.listening(note or (lambda _op, _inputs, _outputs: None)):
        for at, token in enumerate(TOKENS):
            given = {"ids": np.array([token], np.int32), "position": np.array([at], np.int32)}
            outputs += [value.numpy() for value in model.evaluate(given, state).values()]
    return outputs, [np.asarray(state.read_state(f"state_{number}")) for number in range(4)]


def peaks(program):
    """Return the magnitudes of the program's values over every token."""
    found, rows = {}, {}

    def note(op, inputs, outputs):
        if op.op_type == "ane_rms_norm":
            square = float(inputs["x"].square().sum())
            rows.setdefault(op.inputs["x"].name, []).append(square)
        for name, value in outputs.items():
            if hasattr(value, "is_floating_point") and value.is_floating_point():
                found[name] = max(found.get(name, 0.0), float(value.abs().max()))

    decoded(program, note=note)
    typical = {name: float(np.sqrt(np.median(sums) / WIDTH)) for name, sums in rows.items()}
    return {
        name: ane_rms.Magnitude(peak, max(rows[name]) if name in rows else None, typical.get(name))
        for name, peak in found.items()
    }


def same(before, after):
    for expected, actual in zip([*before[0], *before[1]], [*after[0], *after[1]], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000), rescale=st.sampled_from(["peaks", "sums", 2.0**-3]))
def test_outputs_and_states_stay(data, seed, rescale):
    size = data.draw(st.sampled_from([1.0, 1e6]), label="size")
    program = Decoder(lambda name: data.draw(st.booleans(), label=name), np.random.default_rng(seed), size).program()
    before = decoded(program)
    rescale_program(program, rescale if isinstance(rescale, float) else ane_rms.Rescaling(peaks, rescale))
    program.validate()
    same(before, decoded(program))


def test_a_state_over_range_is_left_with_a_reason():
    program = Decoder(lambda _: False, np.random.default_rng(0), 1.0, 1e6).program()
    text = str(program)
    rescale_program(program, peaks)
    entries = kept_report(program).rescaled
    assert entries
    assert all(entry.factor == 1 and "is a state, which keeps its size" in entry.reason for entry in entries)
    assert str(program) == text


@pytest.mark.parametrize("scheme", ["palette", "int8"])
def test_a_rescaled_network_is_compressed_afterwards(scheme):
    drawn = Network(lambda name: name == "bias", np.random.default_rng(0), 1e6)
    arguments = {"compute_units": NE, "skip_model_load": True, "minimum_deployment_target": ct.target.iOS17}
    model = ane_rms.convert(drawn.program(), rescale=networks.peaks, **arguments)
    assert [one.factor < 1 for one in ane_rms.report(model).rescaled] == [True]
    plain = ReferenceModel(model, "fp16").predict({"ids": networks.IDS})
    if scheme == "palette":
        config = compression.OpPalettizerConfig(mode="uniform", nbits=6, weight_threshold=512)
        small = compression.palettize_weights(model, compression.OptimizationConfig(config))
    else:
        config = compression.OpLinearQuantizerConfig(weight_threshold=512)
        small = compression.linear_quantize_weights(model, compression.OptimizationConfig(config))
    for name, value in ReferenceModel(small, "fp16").predict({"ids": networks.IDS}).items():
        assert np.linalg.norm(value - plain[name]) / np.linalg.norm(plain[name]) < 0.1
