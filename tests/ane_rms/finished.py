"""Plain packages to be rewritten, and what the tests of a rewrite ask about a package."""

from __future__ import annotations

import hashlib
from pathlib import Path

import coremltools as ct
import numpy as np
import torch

from ane_rms.package.files import open_package
from ane_rms.reading import of_opened
from harness.interpreter import ReferenceModel
from tests.mil_tools import torch_program

D = 64
SHAPE = (2, 8, D)


class RmsNorm(torch.nn.Module):
    """RMSNorm as most models write it, with a seeded gamma."""

    def __init__(self, seed: int, epsilon: float = 1e-6) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = torch.nn.Parameter(torch.rand(D, generator=generator) + 0.5)
        self.epsilon = epsilon

    def forward(self, x):
        """Normalise the last axis."""
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon))


def network(*, seed=0):
    torch.manual_seed(seed)
    linear = torch.nn.Linear(D, D)
    return torch.nn.Sequential(RmsNorm(1), linear, RmsNorm(2, 1e-5)).eval()


def plain(shape=SHAPE, *, target=ct.target.iOS17, precision=ct.precision.FLOAT16, given=None, module=None, **more):
    chosen = {"minimum_deployment_target": target, "compute_precision": precision, "skip_model_load": True, **more}
    program = torch_program(module or network(), shape)
    return ct.convert(program, inputs=given or [ct.TensorType("x", shape)], convert_to="mlprogram", **chosen)


def held(path):
    """Return the report of a package's program, whatever its metadata say."""
    return of_opened(open_package(Path(path)), None, axes="any")


def digests(path):
    return {
        str(one.relative_to(path)): hashlib.sha256(one.read_bytes()).hexdigest()
        for one in sorted(path.rglob("*"))
        if one.is_file()
    }


def run(model, x, precision="fp16"):
    (value,) = ReferenceModel(model, precision=precision).predict({"x": x}).values()
    return value


def rel_l2(actual, expected):
    return np.linalg.norm(actual.astype(np.float64) - expected) / np.linalg.norm(expected)


def described():
    """Return a model with descriptions and metadata of its own."""
    model = plain()
    model.short_description, model.author, model.version = "a description", "somebody", "7"
    model.input_description["x"] = "rows"
    model.user_defined_metadata["mine"] = "kept"
    return model
