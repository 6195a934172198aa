"""Explain why a norm was fused or not, and where two programs diverge."""
