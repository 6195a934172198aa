"""What a lean conversion saves: wall time and peak memory against plain ``ct.convert``, in turns, in one run.

Each conversion of a wide model has a process of its own: the peak of a process never goes down. Small models are
converted in turns in one process, for it is Python's work that is saved there, and both kinds ask for it alike. Run
with ``pytest -m "bench and slow" -k lean``.
"""

from __future__ import annotations

import json
from statistics import median

import pytest

from tests.bench import own_process

pytestmark = [pytest.mark.bench, pytest.mark.slow]

PAIRS = 2
TIME, GROWTH = 0.15, 0.35
"""Largest shares of plain ``ct.convert``, four layers of width 2,048: time, and peak memory above what the process held
before. The module's own float32 weights are in both peaks."""

SMALL_TIME = 0.40
"""The largest share of plain ``ct.convert``'s time at width 128."""

CANDIDATE = """
import hashlib, json, resource, sys, time
import coremltools as ct, numpy as np, torch, transformers
import ane_rms
from harness.convert import torch_ops
from harness.export import frontends
from harness.export.wrappers import WRAPPERS

torch.manual_seed(0)
config = transformers.LlamaConfig(
    vocab_size=32000, hidden_size=2048, intermediate_size=8192, num_hidden_layers=4, num_attention_heads=32,
    num_key_value_heads=8, attn_implementation="eager",
)
network = transformers.LlamaForCausalLM(config).float().eval().requires_grad_(False)
tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 32000, (1, 64), dtype=np.int32))
program = frontends.run("trace", WRAPPERS["causal"](network, 64).eval(), (tokens,))
arguments = dict(
    inputs=[ct.TensorType(name="input_ids", shape=(1, 64), dtype=np.int32)], convert_to="mlprogram",
    compute_units=ct.ComputeUnit.CPU_ONLY, minimum_deployment_target=ct.target.iOS17, skip_model_load=True,
)
def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

before = peak_bytes()
start = time.perf_counter()
with torch_ops.registered():
    if sys.argv[1] == "plain":
        model = ct.convert(program, **arguments)
    else:
        model = ane_rms.convert(program, lean=True, **arguments)
seconds = time.perf_counter() - start
peak = peak_bytes()
spec = model.get_spec()
with open(model.weights_dir + "/weight.bin", "rb") as stream:
    weights = hashlib.sha256(stream.read()).hexdigest()
text = hashlib.sha256(str(model._mil_program).encode()).hexdigest()
program = hashlib.sha256(spec.mlProgram.SerializeToString(deterministic=True)).hexdigest()
package = [weights, text, program]
print(json.dumps({"seconds": seconds, "peak_bytes": peak, "growth_bytes": peak - before, "package": package}))
"""


def measure(kind: str) -> dict:
    return json.loads(own_process.run("-c", CANDIDATE, kind).output.splitlines()[-1])


@pytest.mark.timeout(1800)
def test_a_lean_conversion_of_four_wide_layers(capsys, speed):
    pairs = [(measure("plain"), measure("lean")) for _ in range(PAIRS)]
    figures = {"time": "seconds", "growth": "growth_bytes", "peak": "peak_bytes"}
    shares = {name: [lean[key] / plain[key] for plain, lean in pairs] for name, key in figures.items()}
    speed.note("lean_wide", **shares)
    time, growth, peak = map(median, shares.values())
    with capsys.disabled():
        for plain, lean in pairs:
            print(  # noqa: T201 - the figures are the result
                f"\nplain {plain['seconds']:.1f} s, {plain['peak_bytes'] / 1e9:.2f} GB; "
                f"lean {lean['seconds']:.1f} s, {lean['peak_bytes'] / 1e9:.2f} GB"
            )
        print(  # noqa: T201
            f"lean takes {time:.2f} of the time, {peak:.2f} of the peak memory and {growth:.2f} of what it grows by"
        )
    for plain, lean in pairs:
        assert lean["package"] == plain["package"]
    assert time <= TIME
    assert growth <= GROWTH


SMALL = """
import json, sys, time
import coremltools as ct, numpy as np, torch, transformers
import ane_rms
from harness.export import frontends
from harness.export.wrappers import WRAPPERS

torch.manual_seed(0)
config = transformers.LlamaConfig(
    vocab_size=512, hidden_size=128, intermediate_size=352, num_hidden_layers=int(sys.argv[1]), num_attention_heads=4,
    num_key_value_heads=2, attn_implementation="eager",
)
network = transformers.LlamaForCausalLM(config).float().eval().requires_grad_(False)
tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 512, (1, 32), dtype=np.int32))
program = frontends.run("trace", WRAPPERS["causal"](network, 32).eval(), (tokens,))
arguments = dict(
    inputs=[ct.TensorType(name="input_ids", shape=(1, 32), dtype=np.int32)], convert_to="mlprogram",
    compute_units=ct.ComputeUnit.CPU_ONLY, minimum_deployment_target=ct.target.iOS17, skip_model_load=True,
)

def seconds(convert, **more):
    start = time.process_time()
    convert(program, **arguments, **more)
    return time.process_time() - start

seconds(ane_rms.convert, lean=True)
pairs = [(seconds(ct.convert), seconds(ane_rms.convert, lean=True)) for _ in range(int(sys.argv[2]))]
print(json.dumps(pairs))
"""


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("layers", "times"), [(2, 5), (16, 3)])
def test_a_lean_conversion_of_narrow_layers(layers, times, capsys, speed):
    pairs = json.loads(own_process.run("-c", SMALL, str(layers), str(times)).output.splitlines()[-1])
    shares = [lean / plain for plain, lean in pairs]
    speed.note(f"lean_narrow_{layers}_layers", time=shares)
    share = median(shares)
    with capsys.disabled():
        print(f"\n{layers} layers of width 128: lean takes {share:.2f} of the time")  # noqa: T201
    assert share <= SMALL_TIME
