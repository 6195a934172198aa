"""The folder in which this project keeps files that can be made or fetched again."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "ANE_HARNESS_CACHE"
"""Environment variable that names another folder than the default."""


def cache_folder() -> Path:
    """Return the folder: ``$ANE_HARNESS_CACHE``, else the platform's place for caches."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("ane-harness", appauthor=False))
