"""Objects that existed before a lean conversion are frozen during it, and only then."""

from __future__ import annotations

import gc

import pytest

from ane_rms.coremltools_patches.lean.garbage import frozen_garbage


@pytest.fixture
def _nothing_frozen():
    """Undo what the session has frozen, and freeze again afterwards."""
    gc.unfreeze()
    yield
    gc.freeze()


@pytest.mark.usefixtures("_nothing_frozen")
def test_existing_objects_are_frozen_until_the_last_block_ends():
    first, second = frozen_garbage(), frozen_garbage()
    first.__enter__()
    frozen = gc.get_freeze_count()
    assert frozen > 1000  # the interpreter's own objects are more
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_freeze_count() > 0
    second.__exit__(None, None, None)
    assert gc.get_freeze_count() == 0


@pytest.mark.usefixtures("_nothing_frozen")
def test_what_others_have_frozen_stays_frozen():
    gc.freeze()
    with frozen_garbage():
        pass
    assert gc.get_freeze_count() > 0
