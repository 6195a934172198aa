"""The frontends record plain torch ops."""

from __future__ import annotations

import torch

from harness.export import frontends


def test_an_autograd_function_is_traced_as_its_forward():
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            ctx.factor = 2.0
            return x * 2.0

    class NewStyle(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x + 1.0

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs, output)

    class Model(torch.nn.Module):
        def forward(self, x):
            return NewStyle.apply(Doubled.apply(x))

    kept = torch.autograd.Function.__dict__["apply"]
    program = frontends.run("trace", Model(), (torch.ones(2),))
    assert not any("PythonOp" in node.kind() for node in program.graph.nodes())
    assert program(torch.ones(2)).tolist() == [3.0, 3.0]
    assert torch.autograd.Function.__dict__["apply"] is kept
