"""Conversions of several kinds, for the tests of what they leave behind: each returns the model of a seed."""

from __future__ import annotations

import gc
import hashlib
from functools import cache
from pathlib import Path

import coremltools as ct
import numpy as np
import torch
from coremltools.converters.mil.mil import Builder, get_new_symbol

import ane_rms
from ane_rms.coremltools_patches.isolation import isolated
from ane_rms.passes.strategies import STRATEGIES
from tests.mil_tools import NE, UNITS, inputs, options

SHAPE = (2, 64)
DATE = "com.github.apple.coremltools.conversion_date"


@cache
def program(seed):
    torch.manual_seed(seed)
    width = 64 + 8 * seed
    net = torch.nn.Sequential(
        torch.nn.Linear(64, width), torch.nn.GELU(), torch.nn.Linear(width, 64), torch.nn.RMSNorm(64, eps=1e-6)
    )
    return torch.jit.trace(net.eval(), torch.zeros(SHAPE))


def plain(seed):
    return ct.convert(program(seed), inputs=inputs(SHAPE), **options(NE))


def ours(seed):
    return ane_rms.convert(program(seed), inputs=inputs(SHAPE), **options(UNITS[seed % len(UNITS)]))


def lean(seed):
    return ane_rms.convert(program(seed), inputs=inputs(SHAPE), lean=True, **options(NE))


def installed(seed):
    with ane_rms.installed():
        return ct.convert(program(seed), inputs=inputs(SHAPE), **options(NE))


def built(width, count):
    """Return a MIL program of several norms, one in the branch of a cond, with a size unknown until run time."""

    @Builder.program(input_specs=[Builder.TensorSpec(shape=(get_new_symbol(), width))], opset_version=ct.target.iOS17)
    def made(x):
        def norm(value, epsilon):
            mean = Builder.reduce_mean(x=Builder.square(x=value), axes=[-1], keep_dims=True)
            return Builder.mul(x=value, y=Builder.rsqrt(x=Builder.add(x=mean, y=np.float32(epsilon))))

        for i in range(count):
            x = norm(Builder.tanh(x=x), (i + 1) * 1e-5)
        positive = Builder.greater(x=Builder.reduce_max(x=x, keep_dims=False), y=np.float32(0))
        return Builder.cond(pred=positive, _true_fn=lambda: norm(x, 1e-3), _false_fn=lambda: Builder.relu(x=x))

    return made


def of_mil(seed):
    with isolated():  # coremltools alone does not build in two threads at once
        made = built(16 + 8 * seed, 3 + seed)
    lowering = sorted(STRATEGIES)[seed % len(STRATEGIES)]
    arguments = options(NE, minimum_deployment_target=ct.target.iOS17)
    return ane_rms.convert(made, lowering=lowering, axes="any", lean=bool(seed % 2), **arguments)


def digest(model):
    """Return a digest of everything in a package but the day it was made."""
    if model is None:
        return ""
    spec = model.get_spec()
    spec.description.metadata.userDefined.pop(DATE, None)
    found = hashlib.sha256(spec.SerializeToString(deterministic=True))
    for path in sorted(Path(model.weights_dir).iterdir()):
        found.update(path.read_bytes())
    return found.hexdigest()


def left(folder):
    """Return what is in a temporary folder beside the models' packages, which coremltools removes at exit."""
    gc.collect()
    return [path.name for path in folder.iterdir() if path.suffix != ".mlpackage"]
