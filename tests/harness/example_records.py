"""Records as runs would leave them, made by hand: what tests of comparisons, history and the report start from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from harness.records.machine import Environment
from harness.records.schema import Record, SiteRecord

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAC = Environment(
    os="macOS 15.5 (24F74)",
    machine="arm64",
    chip="Apple M4",
    cores=10,
    memory_bytes=24 * 2**30,
    versions={"python": "3.11.7", "coremltools": "9.0", "torch": "2.13.0", "numpy": "2.3.5"},
    git_commit="0123456789abcdef0123456789abcdef01234567",
    git_clean=True,
)

METRICS = {"rel_l2": 1.5e-3, "cosine": 0.999999, "max_abs": 2e-3, "mean_rel": 1e-2, "kl": 7e-8, "top1": 1.0}


def sites(*fused: str, missed: Iterable[str] = ()) -> tuple[SiteRecord, ...]:
    """Return a site for each module path, the fused ones first; a value's name is made of it."""
    return tuple(
        SiteRecord(
            name=f"value_of_{module.replace('.', '_')}",
            module=module,
            fused=module in fused,
            spelling="mean_rsqrt_mul",
            shape=(1, 32, 128),
            reason="" if module in fused else "the mean is over axis 1, not the last",
        )
        for module in (*fused, *missed)
    )


NORMS = ("model.layers.0.input_layernorm", "model.layers.0.post_attention_layernorm", "model.norm")


def record(model: str = "llama", variant: str = "on", **fields: Any) -> Record:
    """Return a record of a model of three norms in which all is well, but for the fields given."""
    on = variant == "on"
    plain: dict[str, Any] = {
        "run_id": "20260101T000000.000000Z",
        "time": "2026-01-01T00:00:00+00:00",
        "model": model,
        "variant": variant,
        "frontend": "trace",
        "size": "quick",
        "compute_units": "CPU_ONLY" if variant == "cpu" else "CPU_AND_NE",
        "compute_precision": "FLOAT16",
        "executor": "reference",
        "policy": "fp16",
        "lowering": "layer_norm" if on else "",
        "seed": 1,
        "sequence_length": 32,
        "status": "ok",
        "environment": MAC,
        "norms_expected": 3,
        "norms_executed": 3,
        "fused": 3 if on else 0,
        "missed": 0 if on else 3,
        "sites": sites(*NORMS) if on else sites(missed=NORMS),
        "ops_before": 120,
        "ops_after": 111 if on else 120,
        "norm_ops": 15 if on else None,
        "metrics": METRICS,
    }
    return Record(**{**plain, **fields})


def zoo(models: int = 3, **fields: Any) -> list[Record]:
    """Return a run of some models in the variants off and on."""
    names = ("llama", "qwen3", "gemma2", *(f"model-{number:02}" for number in range(models)))[:models]
    return [record(name, variant, **fields) for name in names for variant in ("off", "on")]


def write_run(results: Path, run_id: str, records: Iterable[Record]) -> Path:
    """Write a run's file below a results folder."""
    path = results / "runs" / f"{run_id}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (msgspec.json.encode(msgspec.structs.replace(one, run_id=run_id)) + b"\n" for one in records)
    path.write_bytes(b"".join(lines))
    return path
