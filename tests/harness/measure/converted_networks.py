"""A network of tokens, converted by coremltools alone, with the trial that its program is measured by."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import torch

from harness.convert.conversion import Converted
from harness.measure.model_precision import Trial
from harness.plan.shapes import Shape


def converted_network(network):
    """Return a network of (1, 4) tokens as a float16 program, and its trial on the tokens 0 to 3."""
    tokens = np.array([[0, 1, 2, 3]], np.int32)
    model = ct.convert(
        torch.jit.trace(network, torch.from_numpy(tokens)),
        inputs=[ct.TensorType(name="input_ids", shape=tokens.shape, dtype=np.int32)],
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS17,
        skip_model_load=True,
    )
    expected = network(torch.from_numpy(tokens)).detach().numpy()[0]
    return Converted(model), Trial(Shape("prefill", 4), ("main",), (tokens,), (expected,))
