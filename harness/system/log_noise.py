"""Keep the libraries' chatter off the terminal: log lines, warnings and progress bars that say nothing to the user.

To be called before coremltools, torch or transformers are imported: some of them decide at import.
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
