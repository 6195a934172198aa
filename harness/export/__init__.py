"""Turn a zoo entry into a program that coremltools converts: build, wrap, count the norms, trace or export.

spec = harness.zoo.catalog.load_zoo()["llama"]
exported = harness.export.export(spec)
with harness.convert.torch_ops.registered():
    coremltools.convert(exported.program, inputs=exported.ct_inputs(), convert_to="mlprogram")
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import ExportError, NotFiniteError, UnsuitedShapeError, check_name
from harness.export import frontends, pretrained
from harness.export.build import build, quiet_transformers, seeded_tokens
from harness.export.exported_model import ExportedModel
from harness.export.norms import NormCall, counted_run, norms_executed
from harness.export.parts import Part, parts
from harness.export.rotary import tabled
from harness.export.weight_range import weight_marks, weight_problem
from harness.export.wrappers import WRAPPERS
from harness.plan.shapes import LENGTH, Shape
from harness.zoo.passage import PASSAGE
from harness.zoo.prompts import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from harness.zoo.catalog import ModelSpec, Size
    from harness.zoo.checkpoint import Checkpoint

    Array = np.ndarray[Any, Any]

__all__ = ["FRONTENDS", "ExportedModel", "NormCall", "build", "export", "norms_executed"]

FRONTENDS = tuple(frontends.FRONTENDS)
"""Names of the frontends, the default one first."""


def export(
    spec: ModelSpec,
    *,
    size: Size = "quick",
    frontend: str = "trace",
    sequence_length: int = LENGTH,
    shape: Shape | None = None,
    checkpoint: Checkpoint | None = None,
    prompts: Sequence[str] = (),
    text: bool = False,
) -> ExportedModel:
    """Build a zoo model and trace or export it.

    Parameters
    ----------
    spec: the zoo entry.
    size: ``"quick"`` or ``"full"``.
    frontend: ``"trace"`` (TorchScript) or ``"export"`` (torch.export).
    sequence_length: N; used only if no shape is given.
    shape: how the program takes its tokens. Default: ``prefill`` of ``sequence_length``.
    checkpoint: weights for the entry's architecture. Default: seeded ones.
    text: whether a longer text is tokenized as well, to measure perplexity on.
    prompts: texts for the checkpoint's tokenizer, if it has one. Default: this project's own.

    Raises
    ------
    UnknownNameError: for an unknown frontend.
    UnsuitedShapeError: if the model has no such shape.
    NotFiniteError: if a weight of the checkpoint is NaN or infinite, whether or not a prompt reaches it.
    ZooFileError, ExportError: if the model cannot be built, run, or traced.
    """
    check_name("frontend", frontend, frontends.FRONTENDS)
    shape = shape or Shape(length=sequence_length)
    if shape.kind != "prefill" and spec.wrapper != "causal":
        raise UnsuitedShapeError(f"{spec.key}: {shape.kind}: only decoder-only models have this shape")
    network, unread = (build(spec, size=size), ()) if checkpoint is None else _loaded(spec, checkpoint)
    config: Any = network.config
    reference = WRAPPERS[spec.wrapper](network, shape.length).eval()
    tokens = seeded_tokens(spec.gamma_seed, config.vocab_size, shape.length)
    positions = tabled(network, shape.length, only_changing=shape.kind == "prefill")
    with quiet_transformers(), positions as replaced, _naming(spec.key, shape, frontend):
        made = [
            _run(part, ExportedModel(spec.key, frontend, None, reference, part.inputs, (), tokens, shape))
            for part in parts(network, reference, shape, tokens, frontend)
        ]
    first, *rest = made
    if replaced:
        first = replace(first, logits=None)
    numbers = size if checkpoint is None else config
    expected, written_out = _norms_expected(spec, numbers, first), spec.written_out_norms(numbers)
    first = replace(first, norms_expected=expected, norms_written_out=written_out, decode=rest[0] if rest else None)
    first = replace(first, marks=unread)
    return first if checkpoint is None else _of_checkpoint(first, spec, checkpoint, prompts, text=text)


def _loaded(spec: ModelSpec, checkpoint: Checkpoint) -> tuple[torch.nn.Module, tuple[str, ...]]:
    """Return a checkpoint's network, whose weights are all finite, and marks on it."""
    network, marks = pretrained.load_with_marks(checkpoint)
    if problem := weight_problem(network):
        raise NotFiniteError(f"{spec.key}: {problem}")
    return network, marks


def _norms_expected(spec: ModelSpec, config_or_size: Any, exported: ExportedModel) -> int:
    if spec.norms:
        return spec.expected_norms(config_or_size)
    return sum(call.kind == "rms_norm" for call in exported.norms)


def _of_checkpoint(
    exported: ExportedModel, spec: ModelSpec, checkpoint: Checkpoint, prompts: Sequence[str], *, text: bool
) -> ExportedModel:
    """Add a checkpoint's prompts, and notes on its weights."""
    network: Any = exported.module.network
    marks = [f"weights: {checkpoint.dtype}", *exported.marks, *weight_marks(network)]
    if not spec.norms:
        marks.append(f"{spec.key} is not in the zoo: as many norms are expected as the model executes")
    if not checkpoint.has_tokenizer:
        if text:
            raise ExportError(f"{checkpoint.source}: --text: the checkpoint has no tokenizer")
        return replace(exported, marks=(*marks, "no tokenizer: random tokens"))
    length = exported.shape.length
    texts = (*(prompts or DEFAULT), *([PASSAGE] if text else []))
    whole = pretrained.tokenize(checkpoint, texts, network.config.vocab_size)
    if text:
        whole, exported = whole[:-1], replace(exported, text=whole[-1])
    if longer := sum(ids.shape[1] > length for ids in whole):
        marks.append(f"{longer} of {len(whole)} prompts cut to {length} tokens")
    return replace(exported, marks=tuple(marks), prompts=tuple(ids[:, :length] for ids in whole))


def _run(part: Part, exported: ExportedModel) -> ExportedModel:
    """Run a part eagerly to count its norms, then run the frontend on it."""
    norms, output = counted_run(part.module, part.inputs)
    logits = output.float().numpy() if part.module is exported.module else None
    part.reset()
    example = {name: torch.from_numpy(value) for name, value in part.inputs.items()}
    longest = exported.shape.length if exported.shape.kind == "flexible" else None
    program = frontends.run(exported.frontend, part.module, tuple(example.values()), longest)
    part.reset()
    return replace(exported, program=program, norms=norms, states=part.states, name=part.name, logits=logits)


@contextlib.contextmanager
def _naming(key: str, shape: Shape, frontend: str) -> Iterator[None]:
    """Turn any exception into an ExportError that names the model."""
    try:
        yield
    except UnsuitedShapeError as error:
        raise UnsuitedShapeError(f"{key}: {shape.kind}: {error}") from None
    except Exception as error:  # torch raises errors of many kinds here, all of them about this model
        raise ExportError(f"{key}: {frontend}: {type(error).__name__}: {error}") from error
