"""Time and memory of the reference executor on a 4-layer Llama of width 2,048, sequence 64.

Rounds are interleaved (eager, executor, eager, ...) in one process, and the median of the rounds' ratios is
held against the limit, because the machine's speed drifts between minutes. Memory is the peak of a process of
its own, less what it had after its imports. Run with ``pytest -m "bench and slow" tests/bench``.
"""

from __future__ import annotations

import copy
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import coremltools as ct
import numpy as np
import pytest
import torch

from harness.interpreter import ReferenceModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.bench,
    pytest.mark.slow,
    # What tracing and exporting make torch and transformers say of themselves.
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning"),
]

SEQUENCE, WIDTH, LAYERS, VOCABULARY = 64, 2048, 4, 16384
ROUNDS = 7
FP32_LIMIT, FP16_LIMIT = 1.3, 3.0
ONNX_SPEEDUP = {"fp32": 0.8, "fp16": 10.0}
"""How often faster than onnx's ReferenceEvaluator at least.

numpy's float16 matmul is a plain loop. Its float32 one is BLAS, as fast as torch's, and at this shape both evaluators
do little else: ten times faster than onnx in float32 would be several times faster than the matrix products alone,
which ``test_time_against_the_matrix_products`` measures.
"""
FLOOR_LIMIT = 1.4
"""Time of float32 over that of numpy's products of the same weights, at most: the rest is attention, norms, masks."""
EXPORTERS = {"torch.export": True, "torchscript": False}
"""Exporters of ``torch.onnx.export`` (``dynamo=``), the first its default; the graph is run as it is written."""
MEMORY_LIMIT_BYTES = 1 << 30

CHILD = """
import pathlib, re, sys
import numpy as np
from harness.interpreter import ReferenceModel

def peak():  # of this process image alone; getrusage would count the parent's before the exec
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024

before = peak()
with np.load(sys.argv[2]) as data:
    ReferenceModel(sys.argv[1], sys.argv[3]).predict(dict(data))
print(peak() - before)
"""


class Llama(torch.nn.Module):
    """A Hugging Face Llama behind the explicit mask and positions that conversion needs."""

    def __init__(self) -> None:
        super().__init__()
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(0)
        config = LlamaConfig(
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=32,
            num_key_value_heads=8,
            vocab_size=VOCABULARY,
            attn_implementation="eager",
        )
        self.model = LlamaForCausalLM(config).eval()

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return logits ``[1, T, vocabulary]``."""
        out = self.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
        return out.logits


@pytest.fixture(scope="module")
def llama() -> tuple[torch.nn.Module, tuple[torch.Tensor, ...]]:
    """Return the model and its inputs."""
    ids = torch.randint(0, VOCABULARY, (1, SEQUENCE), generator=torch.Generator().manual_seed(1), dtype=torch.int32)
    mask = torch.triu(torch.full((SEQUENCE, SEQUENCE), -1e4), 1)[None, None]
    return Llama().eval(), (ids, mask, torch.arange(SEQUENCE, dtype=torch.int32)[None])


@pytest.fixture(scope="module")
def packages(llama: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the model's packages in float32 and float16."""
    module, inputs = llama
    folder = tmp_path_factory.mktemp("llama")
    with torch.no_grad():
        traced = torch.jit.trace(module, inputs, check_trace=False)
    types = [
        ct.TensorType(name, tuple(value.shape), dtype=np.float32 if value.is_floating_point() else np.int32)
        for name, value in zip(("ids", "mask", "positions"), inputs, strict=True)
    ]
    paths = {}
    for name, precision in (("fp32", ct.precision.FLOAT32), ("fp16", ct.precision.FLOAT16)):
        paths[name] = folder / f"{name}.mlpackage"
        ct.convert(
            traced,
            inputs=types,
            compute_precision=precision,
            minimum_deployment_target=ct.target.iOS17,
            skip_model_load=True,
        ).save(str(paths[name]))
    return paths


def data(inputs: tuple[torch.Tensor, ...]) -> dict[str, np.ndarray]:
    """Name the inputs as the packages do."""
    return {name: value.numpy() for name, value in zip(("ids", "mask", "positions"), inputs, strict=True)}


def seconds(call: Callable[[], Any]) -> float:
    """Time one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def paired_ratio(call: Callable[[], Any], against: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Return the median over interleaved rounds of ``time(call) / time(against)``.

    Both are warmed up by a call of each; a single round is of calls so long that only ``call`` is.
    """
    call()
    if rounds > 1:
        against()
    return statistics.median(seconds(call) / seconds(against) for _ in range(rounds))


@pytest.mark.parametrize(("precision", "limit"), [("fp32", FP32_LIMIT), ("fp16", FP16_LIMIT)])
def test_time_against_eager(
    llama: Any, packages: dict[str, Path], precision: str, limit: float, record_property: Any
) -> None:
    module, inputs = llama
    model = ReferenceModel(packages[precision], precision)
    fed = data(inputs)
    with torch.inference_mode():
        ratio = paired_ratio(lambda: model.predict(fed), lambda: module(*inputs))
    record_property("ratio_to_eager", ratio)
    sys.stdout.write(f"\n{precision}: {ratio:.2f} times eager (limit {limit})\n")
    assert ratio <= limit


def test_time_against_the_matrix_products(llama: Any, packages: dict[str, Path], record_property: Any) -> None:
    module, inputs = llama
    weights = [m.weight.detach().numpy() for m in module.modules() if isinstance(m, torch.nn.Linear)]
    rows = {w.shape[1]: np.ones((SEQUENCE, w.shape[1]), np.float32) for w in weights}
    model, fed = ReferenceModel(packages["fp32"], "fp32"), data(inputs)
    ratio = paired_ratio(lambda: model.predict(fed), lambda: [rows[w.shape[1]] @ w.T for w in weights])
    record_property("ratio_to_matrix_products", ratio)
    sys.stdout.write(f"\nfp32: {ratio:.2f} times numpy's matrix products alone (limit {FLOOR_LIMIT})\n")
    assert ratio <= FLOOR_LIMIT


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_time_against_onnx_reference(
    llama: Any, packages: dict[str, Path], precision: str, exporter: str, tmp_path: Path, record_property: Any
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    module, inputs = llama
    names = ["ids", "mask", "positions"]
    path = tmp_path / "llama.onnx"
    kind = torch.float16 if precision == "fp16" else torch.float32
    typed = tuple(v.to(kind) if v.is_floating_point() else v for v in inputs)
    half = copy.deepcopy(module).to(kind)
    torch.onnx.export(half, typed, str(path), input_names=names, dynamo=EXPORTERS[exporter])
    evaluator, model = ReferenceEvaluator(str(path)), ReferenceModel(packages[precision], precision)
    taken = {name: value for name, value in data(typed).items() if name in evaluator.input_names}
    rounds = ROUNDS if precision == "fp32" else 1  # in float16 onnx takes minutes
    ratio = 1 / paired_ratio(lambda: model.predict(data(inputs)), lambda: evaluator.run(None, taken), rounds)
    record_property("speedup_over_onnx", ratio)
    sys.stdout.write(f"\n{precision}: {ratio:.2f} times faster than onnx's ReferenceEvaluator ({exporter})\n")
    assert ratio >= ONNX_SPEEDUP[precision]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/status")
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_peak_memory(
    llama: Any, packages: dict[str, Path], precision: str, tmp_path: Path, record_property: Any
) -> None:
    np.savez(tmp_path / "inputs.npz", **data(llama[1]))
    package = packages[precision]
    weights = sum(p.stat().st_size for p in package.rglob("*.bin"))
    command = [sys.executable, "-c", CHILD, str(package), str(tmp_path / "inputs.npz"), precision]
    peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    record_property("peak_bytes", peak)
    sys.stdout.write(f"\n{precision}: peak {peak / 2**20:.0f} MB over imports, weights {weights / 2**20:.0f} MB\n")
    assert peak < weights + MEMORY_LIMIT_BYTES
