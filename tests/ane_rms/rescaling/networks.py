"""Draws small residual networks in MIL, for the tests of rescaling.

Each has a table of embeddings, blocks that read and write one or two residual streams, and a head. What is drawn: norms
before and after a block, parallel blocks, gated products, squares, experts that share a weight, a shared expert,
biases, streams that mix by coefficients computed from themselves, a tied head, a softcap, and the stream itself as a
second output.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb

import ane_rms
from ane_rms import mil
from ane_rms.rescaling.weighing import NORM_OPS
from harness.interpreter import ReferenceModel

WIDTH, TOKENS, WORDS = 64, 5, 32
EPSILON = 1e-6


@dataclass
class Network:
    """A network that is being drawn.

    Parameters
    ----------
    draw: tells yes or no by a question's name.
    generator: of the weights.
    size: what the writers of the stream are multiplied by.
    """

    draw: Any
    generator: np.random.Generator
    size: float = 1.0

    def weight(self, out: int, given: int, size: float = 1.0) -> np.ndarray:
        """Return a weight of a linear."""
        drawn = self.generator.standard_normal((out, given)) * size / np.sqrt(given)
        return drawn.astype(np.float32)

    def norm(self, x: Any, width: int = WIDTH) -> Any:
        """Normalise, with a gamma or without."""
        gamma = {} if self.draw("no gamma") else {"gamma": self.generator.uniform(0.5, 1.5, width).astype(np.float32)}
        return mb.ane_rms_norm(x=x, epsilon=np.float32(EPSILON), axes=[-1], **gamma)

    def linear(self, x: Any, out: int, size: float = 1.0) -> Any:
        """Multiply by a weight, with a bias or without."""
        bias = {"bias": self.generator.standard_normal(out).astype(np.float32) * size} if self.draw("bias") else {}
        return mb.linear(x=x, weight=self.weight(out, int(x.shape[-1]), size), **bias)

    def mlp(self, x: Any) -> Any:
        """Return a gated product, or two that share the weight they end in."""
        inner = 2 * WIDTH
        down = mb.const(val=self.weight(WIDTH, inner, self.size))
        number = 2 if self.draw("two experts") else 1
        parts = [mb.linear(x=self.activated(x, inner), weight=down) for _ in range(number)]
        made = parts[0] if len(parts) == 1 else self.routed(x, parts)
        if self.draw("shared expert"):
            shared = self.linear(self.activated(x, WIDTH), WIDTH, self.size)
            made = mb.add(x=made, y=mb.mul(x=shared, y=mb.sigmoid(x=self.linear(x, 1))))
        return made

    def activated(self, x: Any, inner: int) -> Any:
        """Return the square of an activation, or a gated product."""
        if self.draw("squared activation"):
            return mb.square(x=mb.relu(x=self.linear(x, inner)))
        return mb.mul(x=mb.silu(x=self.linear(x, inner)), y=self.linear(x, inner))

    def routed(self, x: Any, parts: list[Any]) -> Any:
        """Sum what experts give, weighted by a router."""
        router = mb.softmax(x=self.linear(x, len(parts)), axis=-1)
        stacked = mb.stack(values=parts, axis=-1)
        weighted = mb.mul(x=stacked, y=mb.expand_dims(x=router, axes=[-2]))
        return mb.reduce_sum(x=weighted, axes=[-1], keep_dims=False)

    def attention(self, x: Any) -> Any:
        """Return one head of attention over the tokens."""
        q, k, v = (self.linear(x, WIDTH) for _ in range(3))
        if self.draw("normed queries"):
            q, k = self.norm(q), self.norm(k)
        scores = mb.mul(x=mb.matmul(x=q, y=k, transpose_y=True), y=np.float32(WIDTH**-0.5))
        return self.linear(mb.matmul(x=mb.softmax(x=scores, axis=-1), y=v), WIDTH, self.size)

    def block(self, stream: Any) -> Any:
        """Add to the stream what a block makes of it."""
        if self.draw("parallel"):
            x = self.norm(stream)
            return mb.add(x=stream, y=mb.add(x=self.attention(x), y=self.mlp(x)))
        for part in (self.attention, self.mlp):
            made = part(self.norm(stream))
            if self.draw("norm after"):
                made = mb.mul(x=self.norm(made), y=np.float32(self.size))
            if self.draw("scaled residual"):
                made = mb.mul(x=made, y=np.float32(0.22))
            stream = mb.add(x=stream, y=made)
        return stream

    def mixed(self, stream: Any) -> Any:
        """Return the mean of two copies of a stream, mixed by coefficients computed from it."""
        copies = mb.stack(values=[stream, self.linear(self.norm(stream), WIDTH, self.size)], axis=0)
        coefficients = mb.tanh(x=self.linear(self.norm(stream), 4))
        square = mb.reshape(x=coefficients, shape=[int(stream.shape[0]), 2, 2])
        turned = mb.transpose(x=copies, perm=[1, 2, 0])
        return mb.reduce_mean(x=mb.matmul(x=turned, y=square), axes=[-1], keep_dims=False)

    def outputs(self, ids: Any) -> Any:
        """Return the logits, and the stream where that is drawn."""
        table = mb.const(val=self.weight(WORDS, WIDTH))
        stream = ids if mil.is_float(ids) else mb.gather(x=table, indices=ids, axis=0)
        if self.draw("scaled embedding"):
            stream = mb.mul(x=stream, y=np.float32(8))
        for _ in range(2):
            stream = self.mixed(stream) if self.draw("mixed") else self.block(stream)
        x = self.norm(stream)
        logits = mb.linear(x=x, weight=table if self.draw("tied head") else self.weight(WORDS, WIDTH))
        if self.draw("softcap"):
            logits = mb.mul(x=mb.tanh(x=mb.mul(x=logits, y=np.float32(1 / 30))), y=np.float32(30))
        return (logits, mb.identity(x=stream)) if self.draw("stream is an output") else logits

    def program(self) -> Any:
        """Return the network as a program of one input, ``ids``: words, or their embeddings."""
        given = (
            mb.TensorSpec(shape=(TOKENS, WIDTH))
            if self.draw("embeddings are given")
            else mb.TensorSpec(shape=(TOKENS,), dtype=ct.converters.mil.mil.types.int32)
        )

        @mb.program(input_specs=[given], opset_version=ct.target.iOS17)
        def network(ids: Any) -> Any:
            return self.outputs(ids)

        return network


IDS = np.array([3, 1, 4, 1, 5], np.int32)


def run(program: Any, precision: str = "fp64") -> list[np.ndarray]:
    """Return the program's outputs, as the policy stores them."""
    return [value.numpy() for value in ReferenceModel(program, precision).evaluate(given(program)).values()]


def given(program: Any) -> dict[str, np.ndarray]:
    """Return the program's input: words, or embeddings."""
    embeddings = np.random.default_rng(5).standard_normal((TOKENS, WIDTH)).astype(np.float32)
    return {"ids": embeddings if mil.is_float(program["main"].inputs["ids"]) else IDS}


def peaks(program: Any) -> dict[str, ane_rms.Magnitude]:
    """Return the magnitudes of every value, in float64."""
    model, found, rows = ReferenceModel(program, "fp64"), {}, {}

    def note(op: Any, inputs: Any, outputs: Any) -> None:
        if op.op_type in NORM_OPS:
            sizes = inputs["x"].square()
            rows[op.inputs["x"].name] = (float(sizes.sum(-1).max()), float(sizes.mean(-1).sqrt().median()))
        for name, value in outputs.items():
            if value.is_floating_point():
                found[name] = float(value.abs().max())

    with model.listening(note):
        model.predict(given(program))
    return {name: ane_rms.Magnitude(peak, *rows.get(name, (None, None))) for name, peak in found.items()}


def count(program: Any, op_type: str | None = None) -> int:
    """Return the number of ops of a type, or of all that are no constants."""
    ops = [op for block in mil.blocks(program) for op in block.operations]
    return sum(op.op_type == op_type if op_type else op.op_type != "const" for op in ops)
