"""Run a pass pipeline without formatting the program as text before and after, which only a debug log shows."""

from __future__ import annotations

import logging
from typing import Any

from coremltools import _logger as logger
from coremltools.converters.mil.mil.passes import pass_pipeline
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

from ane_rms.coremltools_patches.guard import Patch


def patches() -> list[Patch]:
    """Return the replacement."""
    return [
        Patch(
            pass_pipeline.PassPipelineManager,
            "apply_pipeline",
            "7bae57bb03db4bf4",
            _without_texts,
            "the program is written out as text six times for a log that is not shown",
        )
    ]


def _without_texts(original: Any) -> Any:
    def apply_pipeline(prog: Any, pipeline: Any) -> None:
        if pipeline is None or logger.isEnabledFor(logging.DEBUG):
            original(prog, pipeline)
            return
        pipeline.validate()
        prog.validate()
        for name in pass_pipeline.tqdm(pipeline.passes, desc=f"Running MIL {pipeline} pipeline", unit=" passes"):
            if name.startswith("experimental::"):
                logger.warning(
                    f"The graph pass {name} is under experimental development, "
                    "and the API could be changed in the future."
                )
            graph_pass = PASS_REGISTRY[name]
            graph_pass.set_options(pipeline.get_options(name))
            try:
                graph_pass(prog)
            except Exception:
                logger.error(f"\n\nERROR - '{name}' graph pass produces the following error:\n")
                raise
            prog.validate(check_essential_scope=name == "common::dead_code_elimination")

    return apply_pipeline
