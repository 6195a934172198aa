"""Small arrays go the way of large ones: into the file, in many chunks."""

from __future__ import annotations

import pytest

from ane_rms import mapped_arrays
from ane_rms.coremltools_patches.lean import spill


@pytest.fixture(autouse=True)
def _every_array_is_large(monkeypatch):
    monkeypatch.setattr(spill, "SMALLEST_ELEMENTS", 1)
    monkeypatch.setattr(mapped_arrays, "CHUNK_ELEMENTS", 7)
