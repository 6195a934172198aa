"""A Llama from transformers to a package with every RMSNorm fused. With ``from_pretrained`` it is a published one.

Run: python examples/llama_example.py
"""

import coremltools as ct
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import ane_rms
from harness.export.wrappers import CausalModel

config = LlamaConfig(vocab_size=512, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4)
llama = CausalModel(LlamaForCausalLM(config), sequence_length=32).eval()
tokens = torch.zeros(1, 32, dtype=torch.int32)
model = ane_rms.convert(
    torch.jit.trace(llama, tokens),
    inputs=[ct.TensorType("input_ids", tokens.shape, np.int32)],
    compute_units=ct.ComputeUnit.CPU_AND_NE,
    minimum_deployment_target=ct.target.iOS17,
    skip_model_load=True,
)
print(len(ane_rms.report(model).fused), "norms fused")
model.save("llama.mlpackage")
