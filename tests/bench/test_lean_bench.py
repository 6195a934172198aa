"""What a lean conversion saves: wall time and peak memory against plain ``ct.convert``, in turns, in one run.

Each conversion has a process of its own: the peak of a process never goes down. Run with
``pytest -m "bench and slow" -k lean``.
"""

from __future__ import annotations

import json
from statistics import median

import pytest

from tests.bench import own_process

pytestmark = [pytest.mark.bench, pytest.mark.slow]

PAIRS = 2
TIME, MEMORY = 0.40, 0.60
"""Largest shares of plain ``ct.convert`` that hold."""

CANDIDATE = """
import hashlib, json, resource, sys, time
import coremltools as ct, numpy as np, torch, transformers
import ane_rms
from harness import torch_ops
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
start = time.perf_counter()
with torch_ops.registered():
    if sys.argv[1] == "plain":
        model = ct.convert(program, **arguments)
    else:
        model = ane_rms.convert(program, lean=True, **arguments)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
spec = model.get_spec()
with open(model.weights_dir + "/weight.bin", "rb") as stream:
    weights = hashlib.sha256(stream.read()).hexdigest()
text = hashlib.sha256(str(model._mil_program).encode()).hexdigest()
program = hashlib.sha256(spec.mlProgram.SerializeToString(deterministic=True)).hexdigest()
print(json.dumps({"seconds": seconds, "peak_bytes": peak, "package": [weights, text, program]}))
"""


def measure(kind: str) -> dict:
    return json.loads(own_process.run("-c", CANDIDATE, kind).output.splitlines()[-1])


@pytest.mark.timeout(1800)
def test_a_lean_conversion_of_four_wide_layers(capsys):
    pairs = [(measure("plain"), measure("lean")) for _ in range(PAIRS)]
    time = median(lean["seconds"] / plain["seconds"] for plain, lean in pairs)
    memory = median(lean["peak_bytes"] / plain["peak_bytes"] for plain, lean in pairs)
    with capsys.disabled():
        for plain, lean in pairs:
            print(  # noqa: T201 - the figures are the result
                f"\nplain {plain['seconds']:.1f} s, {plain['peak_bytes'] / 1e9:.2f} GB; "
                f"lean {lean['seconds']:.1f} s, {lean['peak_bytes'] / 1e9:.2f} GB"
            )
        print(f"lean takes {time:.2f} of the time and {memory:.2f} of the peak memory")  # noqa: T201
    for plain, lean in pairs:
        assert lean["package"] == plain["package"]
    assert time <= TIME
    assert memory <= MEMORY
