"""Which values are scaled, by how much, and what is left with its reason."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb
from hypothesis import given, settings
from hypothesis import strategies as st

import ane_rms
from ane_rms import mil
from ane_rms.passes.rescale import rescale_program
from ane_rms.report import kept_report
from ane_rms.rescaling.planning import HEADROOM
from tests.ane_rms.rescaling.constructions import CONSTRUCTIONS
from tests.ane_rms.rescaling.model_constructions import MODEL_CONSTRUCTIONS
from tests.ane_rms.rescaling.networks import EPSILON, Network, count, peaks, run

CEILINGS = {"linear": 32_752.0, "matmul": 32_752.0}


def entries(program):
    report = kept_report(program)
    return () if report is None else report.rescaled


def network(seed=0, size=1.0, **yes):
    return Network(lambda name: bool(yes.get(name.replace(" ", "_"), False)), np.random.default_rng(seed), size)


def over(program):
    """Return the names of values beyond their ceilings."""
    ceilings = {var.name: CEILINGS.get(op.op_type, 65_504.0) for op in program["main"].operations for var in op.outputs}
    return {name for name, one in peaks(program).items() if one.peak > ceilings[name]}


@settings(max_examples=25, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000), aim=st.sampled_from(["peaks", "sums"]))
def test_random_networks_keep_their_outputs_and_lose_what_exceeds_float16(data, seed, aim):
    size = data.draw(st.sampled_from([1.0, 3e4, 1e6]), label="size")
    drawn = Network(lambda name: data.draw(st.booleans(), label=name), np.random.default_rng(seed), size)
    program = drawn.program()
    before, exceeding = run(program), over(program)
    rescale_program(program, ane_rms.Rescaling(peaks, aim))
    program.validate()
    for expected, actual in zip(before, run(program), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    still = over(program)
    left = [one for one in entries(program) if one.factor == 1]
    assert bool(still) <= bool(left), f"{still} are over range, and nothing is said to be left"
    if aim == "peaks" and not exceeding:
        assert entries(program) == ()


def test_a_stream_that_only_norms_read_is_scaled_at_no_op():
    program = CONSTRUCTIONS["huge_embedding"]().program()
    ops, before = count(program), run(program, "fp32")
    rescale_program(program, peaks)
    assert count(program) == ops
    assert not over(program)
    (entry,) = entries(program)
    assert entry.multiplications == ()
    assert entry.epsilon_after == tuple(epsilon * entry.factor**2 for epsilon in entry.epsilon_before)
    limit = entry.ceiling / HEADROOM
    assert entry.peak_after <= limit < 2 * entry.peak_after  # the largest power of two that does it
    for expected, actual in zip(before, run(program, "fp32"), strict=True):
        np.testing.assert_array_equal(actual, expected)  # to the last bit


def test_a_stream_that_grows_is_scaled_from_where_it_grows():
    program = CONSTRUCTIONS["late_layer"]().program()
    typical = {name: one.typical for name, one in peaks(program).items()}
    rescale_program(program, peaks)
    (entry,) = entries(program)
    assert len(entry.multiplications) == 1
    assert not {name for name in entry.values if typical[name] is not None and typical[name] < 10}  # from 0.1 on
    assert entry.reason == ""


def test_a_product_inside_an_mlp_is_scaled_alone():
    drawn = network()
    linear = drawn.linear

    def larger(x, out, size=1.0):
        return linear(x, out, 3e3 if out == 128 else size)

    drawn.linear, drawn.size = larger, 1e-7
    program = drawn.program()
    assert over(program)
    before, ops = run(program), count(program)
    rescale_program(program, peaks)
    assert not over(program)
    assert count(program) == ops
    assert all(len(one.values) == 2 and one.epsilon_before == () for one in entries(program))  # up and gate * up
    np.testing.assert_allclose(run(program)[0], before[0], rtol=1e-12)


def test_nothing_is_changed_where_nothing_is_over_range():
    program = network().program()
    text = str(program)
    rescale_program(program, peaks)
    assert str(program) == text
    assert entries(program) == ()


def test_an_output_over_range_is_left_with_its_reason():
    program = network(size=1e6, stream_is_an_output=True, scaled_embedding=True).program()
    text = str(program)
    rescale_program(program, peaks)
    (entry,) = entries(program)
    assert "is an output, which keeps its size" in entry.reason
    assert entry.factor == 1
    assert str(program) == text


def test_what_softmax_reads_is_left_with_a_reason_that_names_it():
    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 8))], opset_version=ct.target.iOS17)
    def program(x):
        weight = np.ones((8, 8), np.float32)
        return mb.softmax(x=mb.linear(x=x, weight=weight, name="large"), axis=-1, name="probabilities")

    rescale_program(program, lambda _: {"large": 1e6})
    (entry,) = entries(program)
    assert "softmax 'probabilities' reads 'large'" in entry.reason


def test_a_tied_table_is_multiplied_once_and_not_copied():
    program = network(tied_head=True).program()
    tables = [op for op in program["main"].operations if op.op_type == "const" and np.size(op.val.val) == 32 * 64]
    ops = count(program)
    rescale_program(program, 2.0**-3)
    after = [op for op in program["main"].operations if op.op_type == "const" and np.size(op.val.val) == 32 * 64]
    assert (len(tables), len(after)) == (1, 1)
    assert count(program) == ops + 1
    assert entries(program)[0].factor == 2.0**-3


def test_a_factor_scales_the_stream_that_the_norms_read():
    program = network(normed_queries=True).program()
    before = run(program)
    rescale_program(program, 0.125)
    (entry,) = entries(program)
    assert entry.epsilon_before == pytest.approx((EPSILON,))
    assert entry.epsilon_after == pytest.approx((EPSILON / 64,))
    norms = [op for block in mil.blocks(program) for op in block.operations if op.op_type == "ane_rms_norm"]
    untouched = [op for op in norms if float(op.epsilon.val) == np.float32(EPSILON)]
    assert (len(norms), len(untouched)) == (9, 4)  # queries and keys of two blocks keep theirs
    np.testing.assert_allclose(run(program)[0], before[0], rtol=1e-12)


def test_sums_step_along_a_stream_that_grows():
    drawn = network(tied_head=True)
    blocks, block = [], drawn.block

    def growing(stream):
        drawn.size = 1.0 if not blocks else 1e4
        blocks.append(stream)
        return block(stream)

    drawn.block = growing
    program = drawn.program()
    before = run(program)
    rescale_program(program, ane_rms.Rescaling(peaks, "sums"))
    sums = {name: one.sum_of_squares for name, one in peaks(program).items() if one.sum_of_squares is not None}
    assert max(sums.values()) < 65_504 / 2
    factors = [one.factor for one in entries(program)]
    added = [text for one in entries(program) for text in one.multiplications]
    assert 1 <= len(set(added)) <= 3
    assert factors == sorted(factors, reverse=True)
    np.testing.assert_allclose(run(program)[0], before[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("rescale", "says"),
    [
        (0.3, "rescale must be a power of two, such as 0.125; got 0.3"),
        (-2.0, "rescale must be a power of two"),
        (0, "rescale must be a power of two"),
        (float("nan"), "rescale must be a power of two"),
        (2.0**-100, "rescale must lie between"),
        (10**400, "rescale must be a power of two, such as 0.125; got a larger number than a float holds"),
        (np.float32(3), "rescale must be a power of two"),
        (True, "rescale must be None, a power of two, or a callable; got bool"),
        ("auto", "rescale must be None, a power of two, or a callable; got str"),
        ({"x": 1.0}, "rescale must be None, a power of two, or a callable; got dict"),
        (float("inf"), "rescale must be a power of two"),
    ],
)
def test_a_wrong_rescale_is_said_before_anything_is_converted(rescale, says):
    with pytest.raises((ValueError, TypeError), match=says):
        ane_rms.convert(None, rescale=rescale)


def test_a_wrong_rescale_is_said_before_a_module_is_traced():
    class Module(torch.nn.Module):
        def forward(self, x):
            raise AssertionError(x)

    with pytest.raises(ValueError, match="rescale must be a power of two"):
        ane_rms.convert(Module(), inputs=[ct.TensorType("x", (1, 8))], rescale=0.3)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"nothing": 1.0}, "'nothing', which no value of the program is called"),
        ({"x": float("nan")}, "the peak of 'x' must be a finite number, 0 or more; got nan"),
        ({"x": -1.0}, "the peak of 'x' must be a finite number"),
        ({"x": float("inf")}, "the peak of 'x' must be a finite number"),
        ({"x": ane_rms.Magnitude(1.0, "large")}, "the peak of 'x' must be a number; got str"),
        ({"x": "large"}, "the peak of 'x' must be a number; got str"),
        ([1.0], "the callable must return a mapping of names to peaks; got list"),
    ],
)
def test_wrong_peaks_are_said_and_the_program_stays(given, says):
    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 8))], opset_version=ct.target.iOS17)
    def program(x):
        return mb.tanh(x=mb.relu(x=x, name="x"))

    text = str(program)
    with pytest.raises((ValueError, TypeError), match=says):
        rescale_program(program, lambda _: given)
    assert str(program) == text


def test_a_callable_that_raises_is_named_and_the_program_stays():
    def measure(program):
        raise KeyError(len(program.functions))

    program = network().program()
    text = str(program)
    with pytest.raises(ValueError, match="rescale: the callable raised KeyError: 1"):
        rescale_program(program, measure)
    assert str(program) == text


def test_peaks_of_inputs_and_of_integers_are_accepted():
    program = network(embeddings_are_given=True).program()
    rescale_program(program, lambda _: {"ids": 1.0})
    assert entries(program) == ()


def test_the_exponent_lies_between_small_rows_and_small_weights():
    program = MODEL_CONSTRUCTIONS["tiny_weight"]().program()
    rescale_program(program, peaks)
    assert all(entry.factor < 2.0**-12 for entry in entries(program))  # 2^-9 is in range, and leaves the weight tiny
    assert not over(program)


def test_a_region_without_peaks_shows_the_least_ceiling_of_its_values():
    program = network().program()
    rescale_program(program, 0.125)
    (entry,) = entries(program)
    assert (entry.name, entry.ceiling) == (entry.values[0], 32_752.0)  # of the blocks' linears; the first is a gather


def test_a_factor_may_be_a_number_of_numpy():
    program = network().program()
    rescale_program(program, np.float32(0.125))
    assert [entry.factor for entry in entries(program)] == [0.125]
