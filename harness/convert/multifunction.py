"""Join converted models as the functions of one package, which stores their common weights once."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ane_rms
from ane_rms.report import METADATA_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def join(models: Mapping[str, Any]) -> tuple[Any, tempfile.TemporaryDirectory[str]]:
    """Join single-function models; the first becomes the default function.

    Parameters
    ----------
    models: each ``coremltools.models.MLModel`` by the name of its function in the package.

    Returns
    -------
    The model, not loaded, and its temporary folder, deleted when the object is collected. The metadata contains
    the models' fusion reports merged into one, with sites named ``function/site``.
    """
    import coremltools as ct

    folder = tempfile.TemporaryDirectory(prefix="ane-harness-")
    description = ct.utils.MultiFunctionDescriptor()
    for name, model in models.items():
        source = Path(folder.name, f"{name}.mlpackage")
        model.save(str(source))
        description.add_function(str(source), src_function_name="main", target_function_name=name)
    description.default_function_name = next(iter(models))
    joined = Path(folder.name, "model.mlpackage")
    ct.utils.save_multifunction(description, str(joined))
    whole = ct.models.MLModel(str(joined), skip_model_load=True)
    reports = {
        name: ane_rms.report(model) for name, model in models.items() if METADATA_KEY in model.user_defined_metadata
    }
    if reports:
        whole.user_defined_metadata[METADATA_KEY] = merged(reports).to_json()
    return whole, folder


def merged(reports: Mapping[str, ane_rms.FusionReport]) -> ane_rms.FusionReport:
    """Merge the reports of a package's functions into one."""

    def every(field: str) -> Iterator[Any]:
        for name, report in reports.items():
            for item in getattr(report, field):
                yield replace(item, name=f"{name}/{item.name}")

    first = next(iter(reports.values()))
    return replace(
        first,
        fused=tuple(every("fused")),
        missed=tuple(every("missed")),
        warnings=tuple(every("warnings")),
        rescaled=tuple(every("rescaled")),
    )
