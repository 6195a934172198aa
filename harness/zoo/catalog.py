"""Read the model zoo: each model has a file ``models/<key>.toml``, whose name is the key.

A zoo file names a transformers architecture, the true configuration of one published size (``[full]``), the changes
that make it small enough for a quick run (``[quick]``, laid over ``[full]``), and the number of RMSNorms that one
forward pass executes, as a formula (see `harness.zoo.formula`). TOML has no null, so the string ``"null"`` in
``[full]`` or ``[quick]`` means Python's None.

Reading a file needs neither torch nor transformers; `ModelSpec.config` does.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from harness.errors import ZooFileError, check_name
from harness.system.text import MODEL_KEY
from harness.zoo import formula, rescale_choice, toml_struct
from harness.zoo.model_spec import IMPLEMENTATIONS, SIZES, ModelSpec, Size, Tier
from harness.zoo.size_checks import check_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = [
    "IMPLEMENTATIONS",
    "SIZES",
    "TIERS",
    "TRAINED",
    "ModelSpec",
    "Size",
    "all_keys",
    "load_spec",
    "load_zoo",
    "models_folder",
    "select",
]

TRAINED = "trained"
"""The tier of the models that have trained weights in a package registry; they are run at their published size."""

TIERS = (*get_args(Tier), TRAINED)


def _check(spec: ModelSpec, where: str) -> ModelSpec:
    check_sizes(spec.full, f"{where}: full")
    check_sizes(spec.quick, f"{where}: quick")
    for key in ("norms", "written_out"):
        try:
            formula.evaluate(getattr(spec, key), dict.fromkeys({"L", *spec.counts}, 10**6))
        except formula.FormulaError as error:
            raise ZooFileError(f"{where}: {key}: {error}") from error
    rescale_choice.parse(spec.rescale, f"{where}: rescale:", ZooFileError)
    if spec.trained is not None and (problem := spec.trained.problem()):
        raise ZooFileError(f"{where}: trained.{problem}")
    if spec.control and spec.norms != "0":
        raise ZooFileError(f"{where}: norms: expected '0' for a control, got {spec.norms!r}")
    return spec


def load_spec(path: Path) -> ModelSpec:
    """Read and check one zoo file.

    Raises
    ------
    ZooFileError: in one line with the file, the key and the expected value.
    """
    where, key = toml_struct.place(path), _key(path)
    if not MODEL_KEY.fullmatch(key):
        raise ZooFileError(f"{where}: its name is not a model's key, of letters, digits, '_', '.' and '-'")
    return _check(toml_struct.read(path, ModelSpec, key=key), where)


def _key(path: Path) -> str:
    """Return the key of a zoo file: its name, whose accents some file systems store as characters of their own."""
    return unicodedata.normalize("NFC", path.stem)


def models_folder() -> Path:
    """Return the folder of the zoo files: ``$ANE_HARNESS_MODELS``, else the one in the wheel or the checkout."""
    if own := os.environ.get("ANE_HARNESS_MODELS"):
        return Path(own)
    package = Path(__file__).parents[1]
    installed = package / "_models"
    return installed if installed.is_dir() else package.parent / "models"


def _files(folder: Path) -> list[Path]:
    """Return the zoo files of a folder, without hidden files such as macOS' ``._llama.toml``."""
    return sorted((path for path in folder.glob("*.toml") if not path.name.startswith(".")), key=lambda path: path.stem)


def all_keys() -> list[str]:
    """Return the key of every zoo file of `models_folder`, sorted, including those that cannot be used."""
    return [_key(path) for path in _files(models_folder())]


def load_zoo(
    folder: Path | None = None, unusable: Callable[[str, ZooFileError], None] | None = None
) -> dict[str, ModelSpec]:
    """Read every zoo file of a folder (default: `models_folder`), sorted by key.

    Parameters
    ----------
    folder: the folder of the files.
    unusable: called with the key and the error of each unusable file. Default: the first error is raised.

    Raises
    ------
    ZooFileError: for the first unusable file, or if there are no files.
    """
    folder = models_folder() if folder is None else folder
    paths = _files(folder)
    if not paths:
        own = ", which ANE_HARNESS_MODELS names" if os.environ.get("ANE_HARNESS_MODELS") else ""
        raise ZooFileError(f"{folder}{own}: holds no <key>.toml, a model's file")
    zoo = {}
    for path in paths:
        try:
            zoo[_key(path)] = load_spec(path)
        except ZooFileError as error:
            if unusable is None:
                raise
            unusable(_key(path), error)
    return zoo


def select(zoo: Mapping[str, ModelSpec], keys: Iterable[str] = (), tier: str | None = None) -> list[ModelSpec]:
    """Return the named models, or all of them, in the zoo's order, restricted to a tier if one is given.

    The tier ``"nightly"`` includes ``"quick"``, because a nightly run covers every model. ``"trained"`` includes the
    models with trained weights.

    Raises
    ------
    UnknownNameError: for a key that is not in the zoo, or an unknown tier.
    """
    if tier is not None:
        check_name("tier", tier, TIERS)
    wanted = [check_name("model", key, zoo) for key in dict.fromkeys(keys)]
    if tier == TRAINED:
        return [zoo[key] for key in wanted or zoo if zoo[key].trained is not None]
    return [zoo[key] for key in wanted or zoo if tier in (None, "nightly", zoo[key].tier)]
