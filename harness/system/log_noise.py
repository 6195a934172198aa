"""Keep the libraries' log lines, warnings and progress bars off the terminal.

Call it before coremltools, torch or transformers are imported: some of them read these settings at import.
"""

from __future__ import annotations

import logging
import os
import warnings

CHATTY = ("coremltools", "torch", "transformers", "huggingface_hub")


def hush() -> None:
    """Silence the libraries' log lines below errors, their warnings, and their progress bars."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore")
