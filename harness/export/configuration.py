"""Build a checkpoint's transformers configuration, with the settings of execution set by this project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.errors import ExportError
from harness.export.build import quiet_transformers
from harness.system.text import squeezed
from harness.zoo.catalog import IMPLEMENTATIONS

if TYPE_CHECKING:
    from harness.zoo.checkpoint import Checkpoint

OURS = frozenset(
    {
        *("attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
        *("experts_implementation", "_experts_implementation", "_experts_implementation_internal"),
        *("dtype", "torch_dtype", "use_cache", "return_dict", "use_return_dict", "torchscript"),
        *("output_attentions", "output_hidden_states", "output_router_logits", "transformers_weights"),
    }
)
"""Settings that say how a network is executed, not what it computes; those of a file are ignored."""


def configuration(checkpoint: Checkpoint) -> Any:
    """Return the transformers configuration, with this project's attention, experts, element type and cache.

    Raises
    ------
    ExportError: if transformers refuses its fields.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    try:
        with quiet_transformers():
            if checkpoint.trust_remote_code:
                config = AutoConfig.from_pretrained(checkpoint.folder, trust_remote_code=True, local_files_only=True)
            else:
                maker = CONFIG_MAPPING[checkpoint.model_type]
                fields, _ = maker.get_config_dict(checkpoint.folder, local_files_only=True)  # decodes infinities
                config = maker.from_dict(_without_ours(fields))
    except Exception as error:  # transformers raises errors of many kinds about fields
        raise ExportError(f"{checkpoint.source}: config.json: {squeezed(error)[:300]}") from error
    _take_over(config)
    return config


def _without_ours(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a configuration and of nested ones, without those of :data:`OURS` and empty ones."""
    kept = {name: value for name, value in fields.items() if name not in OURS}
    if not kept.get("quantization_config"):
        kept.pop("quantization_config", None)
    return {name: _without_ours(value) if isinstance(value, dict) else value for name, value in kept.items()}


def _take_over(config: Any) -> None:
    """Set this project's settings in a configuration, and in those nested in it."""
    config.use_cache = False
    config.return_dict = True
    config.output_attentions = config.output_hidden_states = False
    config._attn_implementation = IMPLEMENTATIONS["attn_implementation"]  # noqa: SLF001 - where transformers keeps it
    config._experts_implementation = IMPLEMENTATIONS["experts_implementation"]  # noqa: SLF001 - as above
    if not getattr(config, "quantization_config", True):
        del config.quantization_config
    for name in getattr(config, "sub_configs", ()):
        if (inner := getattr(config, name, None)) is not None:
            _take_over(inner)
