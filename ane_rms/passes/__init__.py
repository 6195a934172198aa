"""The graph passes, registered with coremltools when imported."""

from ane_rms.passes import epsilon, fuse, lower, rescale

__all__ = ["epsilon", "fuse", "lower", "rescale"]
