"""Read transformers' architectures from its source, because importing it imports torch, which takes seconds."""

from __future__ import annotations

import ast
import importlib.util
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONFIGURATIONS = ("auto_mappings.py", "configuration_auto.py")
_MODELS = ("modeling_auto.py",)
MODALITIES = {"vision_config": "images", "audio_config": "sound", "video_config": "videos"}
"""The input of a model other than text, by the configuration key that shows it."""


def causal_architecture(source: str, config: Mapping[str, Any], *, trust_remote_code: bool) -> str:
    """Return the transformers class of a configuration, if it is a causal language model of text alone.

    Raises
    ------
    CheckpointError: for an architecture that transformers does not have, one that runs its own code, one that is not a
    causal language model, or one that reads more than text; the last message names its text model.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise CheckpointError(f"{source}: config.json: model_type: expected a name, got {model_type!r}")
    architectures = config.get("architectures") or []
    if not isinstance(architectures, list) or not all(isinstance(name, str) for name in architectures):
        raise CheckpointError(f"{source}: config.json: architectures: expected a list of names, got {architectures!r}")
    architecture = architectures[0] if architectures else ""
    if "auto_map" in config and trust_remote_code:
        _check_code(source, config["auto_map"])
        return architecture
    known, causal = names(_CONFIGURATIONS, "CONFIG_MAPPING_NAMES"), causal_names(model_type)
    if model_type not in known:
        mend = "it brings code of its own, which runs only with --trust-remote-code" if "auto_map" in config else ""
        lacking = f"transformers {metadata.version('transformers')} has no such architecture"
        raise CheckpointError(f"{source}: config.json: model_type {model_type!r}: {mend or lacking}")
    text_alone = bool(causal) and (not architecture or architecture in causal)
    _check_text(source, config, architecture or model_type, text_alone=text_alone)
    if not text_alone:
        raise CheckpointError(f"{source}: {architecture or model_type} is no causal language model")
    return architecture or min(causal)


def _check_code(source: str, auto_map: object) -> None:
    for name in auto_map.values() if isinstance(auto_map, dict) else ():
        if isinstance(name, str) and "--" in name:
            raise CheckpointError(
                f"{source}: config.json: auto_map: its code is in another repository, {name.partition('--')[0]}: "
                "copy the code into the checkpoint's folder"
            )


def _check_text(source: str, config: Mapping[str, Any], architecture: str, *, text_alone: bool) -> None:
    """Refuse a model that reads more than text, naming its text model."""
    beside = [what for key, what in MODALITIES.items() if config.get(key)]
    text = config.get("text_config")
    if not isinstance(text, dict) or architecture.endswith("ForCausalLM") or (text_alone and not beside):
        return
    model_type = text.get("model_type")
    inner = min(causal_names(model_type), default="") if isinstance(model_type, str) else ""
    model = f"its text model is {model_type}{f' ({inner})' if inner else ''}" if model_type else "it has a text model"
    reads = f"reads {' and '.join(beside)} too, and " if beside else ""
    raise CheckpointError(
        f"{source}: {architecture} {reads}is no causal language model of text alone; "
        f"{model}: save that alone and give its folder"
    )


def causal_names(model_type: str) -> set[str]:
    """Return the causal language model classes of an architecture, which may be none."""
    found = names(_MODELS, "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES").get(model_type, ())
    return {found} if isinstance(found, str) else set(found)


@cache
def names(files: tuple[str, ...], variable: str) -> dict[str, Any]:
    """Return a mapping of names in transformers' auto classes: its literal pairs from all of the files.

    Raises
    ------
    CheckpointError: if transformers is not installed, or keeps these names elsewhere.
    """
    spec = importlib.util.find_spec("transformers")
    places = (spec.submodule_search_locations if spec else None) or ()
    found: dict[str, Any] = {}
    for place in places:
        for file in files:
            path = Path(place, "models", "auto", file)
            if path.is_file():
                found |= _literals(path, variable)
    if not found:
        raise CheckpointError(f"transformers holds no {variable}: install transformers from 5.18 on, below 6")
    return found


def _literals(path: Path, variable: str) -> dict[str, Any]:
    """Return the literal pairs in a module's assignment to a variable and in later updates of it."""
    found: dict[str, Any] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(args=arguments, keywords=keywords)):
                values = [*arguments, *(keyword.value for keyword in keywords)]
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="update"), args=values)):
                pass
            case _:
                continue
        for value in values if name == variable else ():
            if isinstance(value, ast.List | ast.Dict):
                found |= dict(ast.literal_eval(value))
    return found
