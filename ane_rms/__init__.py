"""Makes every RMSNorm of a PyTorch language model run, and stay correct, on the Apple Neural Engine.

``import ane_rms`` registers the MIL op ``ane_rms_norm`` and the passes with coremltools. ``ane_rms.convert`` then
takes the place of ``ct.convert``; for ``compute_units=ct.ComputeUnit.CPU_AND_NE`` it fuses and lowers every RMSNorm.
"""

import ane_rms.op
import ane_rms.passes  # noqa: F401 - registers the op and the passes with coremltools
from ane_rms.conversion import convert
from ane_rms.find import find
from ane_rms.installation import install, installed, uninstall
from ane_rms.pipeline import pipeline
from ane_rms.reading import report
from ane_rms.report import Caution, FusionReport, LoweredSite, Miss, Site
from ane_rms.rescaled import Rescaled
from ane_rms.rescaling.magnitudes import Magnitude, Rescaling
from ane_rms.rewrite_package import rewrite

__version__ = "0.1.0"

__all__ = [
    "Caution",
    "FusionReport",
    "LoweredSite",
    "Magnitude",
    "Miss",
    "Rescaled",
    "Rescaling",
    "Site",
    "convert",
    "find",
    "install",
    "installed",
    "pipeline",
    "report",
    "rewrite",
    "uninstall",
]
