"""Records as runs leave them, for the report: made by hand, so that a test knows what it should see."""

from __future__ import annotations

import random
from typing import Any

from harness.records.machine import Condition, Environment, Placement
from harness.records.schema import Record, SiteRecord

LINUX = Environment(
    "Linux 6.1", "x86_64", "Some CPU", 2, 24 * 2**30, {"python": "3.11.7", "coremltools": "9.0"}, "c0ffee" * 6, True
)
MAC = Environment("macOS 26.1 (25B78)", "arm64", "Apple M4", 10, 32 * 2**30, {"python": "3.12.1"}, "c0ffee" * 6, True)

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><script>window.harmed=1</script>",
    '"><img src=x onerror=window.harmed=1>',
    "a\x00b\x1b[31mred\u202eevil",
    "{{ 7*7 }}",
    "x" * 300,
    "ünï çödé 模型",
    "</style><style>*{display:none}",
    "<!--<script>",
    "__proto__",
    "%00%ff",
    "https://example.org/x.png",
    "line\u2028line\nline",
)
"""What a model, a reason or a log may be called: each would do harm somewhere, were it not escaped there."""


def record(model: str = "llama", variant: str = "on", **fields: Any) -> Record:
    """Return a record of the reference executor, of a model with five norms."""
    fused = 5 if variant == "on" else 0
    default = {
        "run_id": "20260131T235959.000000Z",
        "time": "2026-01-31T23:59:59+00:00",
        "frontend": "trace",
        "size": "quick",
        "compute_units": "CPU_AND_NE",
        "compute_precision": "FLOAT16",
        "executor": "reference",
        "policy": "fp16",
        "lowering": "layer_norm" if variant == "on" else "",
        "seed": 1,
        "sequence_length": 32,
        "status": "ok",
        "environment": LINUX,
        "norms_expected": 5,
        "norms_executed": 5,
        "fused": fused,
        "missed": 5 - fused,
        "ops_before": 126,
        "ops_after": 121 if fused else 126,
        "sites": sites(fused=bool(fused)),
        "metrics": {"rel_l2": 8.67e-4, "cosine": 0.9999996, "top1": 1.0},
        "seconds": {"export": 1.3, "convert": 0.9, "execute": 0.04},
    }
    return Record(model=model, variant=variant, **{**default, **fields})


def sites(count: int = 5, *, fused: bool = True, reason: str = "") -> tuple[SiteRecord, ...]:
    """Return norm sites as of a small Llama."""
    return tuple(
        SiteRecord(
            f"h_{n}", f"network.model.{n}.norm", fused, "mean_rsqrt_mul", (1, 32, 128), (-1,), 1e-5, True, 0.0, reason
        )
        for n in range(count)
    )


def timed(model: str = "llama", variant: str = "on", milliseconds: float = 4.0, **fields: Any) -> Record:
    """Return a record of a device, with samples around a median."""
    noise = random.Random(f"{model}{variant}")  # noqa: S311 - a fixed series
    predict = tuple(noise.gauss(milliseconds, 0.008 * milliseconds) / 1e3 for _ in range(30))
    idle = Condition(power="AC", low_power_mode=False, thermal="nominal", load=0.4, translated=False)
    default = {
        "executor": "coreml",
        "environment": MAC,
        "samples": {"predict": predict, "cold_compile": (3.1,)},
        "condition": idle,
        "condition_after": idle,
        "placement": Placement({"ane": 118, "cpu": 3}, {"ane": 0.98, "cpu": 0.02}, {"ane": 5}, 2),
    }
    return record(model, variant, **{**default, **fields})


def zoo() -> list[Record]:
    """Return a run in which one row failed, one is on a device, one has a norm that was missed with a reason."""
    partly = (*sites(4), *sites(5, fused=False, reason="eps is no constant")[4:])
    return [
        record("llama", "off"),
        record("llama", "on"),
        record("qwen3", "off", ops_after=150, ops_before=150),
        record(
            "qwen3", "on", status="wrong", reason="4 of 5 norms fused", fused=4, missed=1, sites=partly, ops_after=141
        ),
        record(
            "gemma",
            "on",
            status="failed",
            reason="op histc has no conversion",
            sites=(),
            metrics={},
            fused=None,
            missed=None,
            log="Traceback\n  the end",
        ),
        timed("mistral", "off", 5.2),
        timed("mistral", "on", 4.0),
    ]


def hostile() -> list[Record]:
    """Return a record for each hostile text, with that text in every field that holds any."""
    return [record(text, text, status=status, **_everywhere(text)) for text in HOSTILE for status in ("ok", "failed")]


def _everywhere(text: str) -> dict[str, Any]:
    return {
        **dict.fromkeys(("reason", "policy", "log", "executor", "checkpoint", "worker"), text),
        **dict.fromkeys(("marks", "warnings"), (text,)),
        "metrics": {text: 1.0, "rel_l2": 0.1},
        "samples": {text: (1.0, 2.0, 3.0)},
        "sites": _named(text),
    }


def _named(text: str) -> tuple[SiteRecord, ...]:
    return (SiteRecord(text, text, False, text, (1, text), reason=text),)


def many(count: int) -> list[Record]:
    """Return a run of many models, four rows each, every model with site names of its own, as a large zoo has."""
    rows = []
    for number in range(count // 4):
        own = tuple(SiteRecord(f"{site.name}_{number}", *_rest(site)) for site in sites(9))
        rows += [
            timed(f"model_{number}", variant, 4.0 + number % 7, sites=own) for variant in ("off", "on", "cpu", "gpu")
        ]
    return rows


def _rest(site: SiteRecord) -> tuple[Any, ...]:
    return tuple(getattr(site, name) for name in SiteRecord.__struct_fields__[1:])
