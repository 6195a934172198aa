"""Make the fields of a record on how a program reads a text: figures, and the continuations in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.export.pretrained import words
from harness.measure.model_precision import executors_of
from harness.measure.text_reading import of_program
from harness.records.schema import TextRecord

if TYPE_CHECKING:
    from harness.convert.conversion import Converted
    from harness.measure.model_precision import Trial
    from harness.zoo.checkpoint import Checkpoint


def text_record(checkpoint: Checkpoint, trial: Trial, model: Converted | str, policy: str) -> TextRecord | None:
    """Return a record of how a converted model reads a trial's text; None for a trial without a text.

    Parameters
    ----------
    checkpoint: the checkpoint whose tokenizer decodes the continuations.
    trial: the text, with float32 PyTorch's reading of it.
    model: the converted model, or a package's path.
    policy: the executor's precision policy.
    """
    reading = trial.reading
    if reading is None:
        return None
    found = of_program(executors_of(trial, model, policy), trial.shape, reading)
    prompt = reading.tokens[0, : reading.prompt_length(trial.shape.length)]
    spelled = words(checkpoint, [prompt, found.continuation, reading.continuation])
    return TextRecord(
        tokens=reading.tokens.shape[1],
        perplexity=found.perplexity if math.isfinite(found.perplexity) else None,
        perplexity_float32=reading.perplexity if math.isfinite(reading.perplexity) else None,
        agreement=found.agreement,
        prompt=spelled[0],
        continuation=spelled[1],
        float32=spelled[2],
    )
