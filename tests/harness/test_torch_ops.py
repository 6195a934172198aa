"""Ops lent to coremltools for the time of a ``with`` block: each against torch, and no trace after."""

from __future__ import annotations

import pytest
from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

from harness import torch_ops

REGISTRY = _TORCH_OPS_REGISTRY.name_to_func_mapping


def test_registered_inside_only() -> None:
    before = dict(REGISTRY)
    with torch_ops.registered():
        assert set(torch_ops.names()) <= set(REGISTRY)
    assert before == REGISTRY


def test_put_back_after_an_exception() -> None:
    before = dict(REGISTRY)

    def fail() -> None:
        with torch_ops.registered():
            raise KeyError("conversion failed")

    with pytest.raises(KeyError, match="conversion failed"):
        fail()
    assert before == REGISTRY


def test_nested_blocks() -> None:
    before = dict(REGISTRY)
    with torch_ops.registered():
        with torch_ops.registered():
            pass
        assert "alias" in REGISTRY
    assert before == REGISTRY


def test_what_coremltools_translates_by_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = object()
    monkeypatch.setitem(REGISTRY, "alias", theirs)
    with torch_ops.registered():
        assert REGISTRY["alias"] is theirs
