"""The graph passes, registered with coremltools when imported."""

from ane_rms.passes import fuse, lower

__all__ = ["fuse", "lower"]
