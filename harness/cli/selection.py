"""Check names given to commands (models, variants, lowerings, policies) before heavy imports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cli.output import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from harness.errors import ZooFileError
    from harness.plan.run_plan import Unusable
    from harness.records.lookup import Side
    from harness.records.run_files import RunFolder
    from harness.zoo.catalog import ModelSpec
    from harness.zoo.checkpoint import Checkpoint


def listed(kind: str, given: str | None, known: Iterable[str]) -> list[str]:
    """Return the names of an option that takes several, separated by commas, and check that each exists."""
    from harness.errors import check_name

    known = list(known)
    return [check_name(kind, name, known) for name in (given or "").split(",") if name]


def variants(given: list[str]) -> list[str]:
    """Return the variants named, or all."""
    from harness.plan.variants import resolve

    return [variant.name for variant in resolve(given)]


def lowerings(given: str | None, *, every: bool = False) -> list[str]:
    """Return the lowerings named; if none is named, all or the default one."""
    from harness.plan.lowerings import lowerings as known

    return listed("lowering", given, known()) or list(known() if every else known()[:1])


def frontend(given: str) -> str:
    """Return the frontend named, after checking that it exists."""
    from harness.errors import check_name
    from harness.plan.run_plan import FRONTENDS

    return check_name("frontend", given, FRONTENDS)


def policy(given: str | None) -> str:
    """Return the executor's policy named, or the default one."""
    from harness.interpreter.precision import DEFAULT_POLICY, POLICIES

    return POLICIES.check(given or DEFAULT_POLICY)


def compressions(given: str | None, policy: str) -> tuple[str, ...]:
    """Return the compressions asked for, preceded by no compression."""
    from harness.convert.compression import SCHEMES
    from harness.errors import ArgumentError
    from harness.interpreter.precision import POLICIES

    chosen = listed("compression", given, SCHEMES)
    if POLICIES[policy].wide and (palettes := [name for name in chosen if SCHEMES[name].float16_only]):
        raise ArgumentError(
            f"--compression {palettes[0]}: palettes are of float16 weights; not with --precision {policy}"
        )
    return ("", *dict.fromkeys(chosen))


def rescale(given: str | None, aim: str) -> str:
    """Return the rescale asked for, or "" for the default of each model."""
    from harness.errors import ArgumentError, check_name
    from harness.zoo.rescale_choice import AIMS, parse

    check_name("aim", aim, AIMS)
    found = "" if given is None else parse(given, "--rescale")
    if aim != AIMS[0] and found not in ("", "auto"):
        raise ArgumentError(f"--aim {aim}: only with --rescale auto, which measures; not with {given}")
    return found


def one_target(target: str | None, checkpoint: str | None) -> str:
    """Return the one model given to a command: a target, or a checkpoint.

    Raises
    ------
    ArgumentError: for both, or neither.
    """
    from harness.errors import ArgumentError

    if (target is None) == (checkpoint is None):
        raise ArgumentError("name one model: a key of the zoo, a package, or --checkpoint")
    return target or checkpoint or ""


def specs(weights: Checkpoint | None, keys: list[str], tier: str) -> tuple[list[ModelSpec], list[Unusable]]:
    """Return the models to run: the checkpoint's one entry, or models of the zoo."""
    if weights is None:
        return select(keys, tier)
    from harness.zoo.catalog import load_zoo
    from harness.zoo.checkpoint import spec_of

    return [spec_of(weights, load_zoo(unusable=lambda _key, _error: None))], []


def select(keys: list[str], tier: str) -> tuple[list[ModelSpec], list[Unusable]]:
    """Return the models asked for, and those whose files cannot be used.

    Raises
    ------
    ZooFileError: if nothing usable was asked for, or a file of a model not named is bad.
    """
    from harness.plan.run_plan import Unusable
    from harness.zoo import catalog

    bad: dict[str, ZooFileError] = {}
    entries = catalog.load_zoo(unusable=bad.__setitem__)
    good = catalog.select(entries, [key for key in keys if key not in bad], None if keys else tier)
    if keys and all(key in bad for key in keys):
        good = []
    others = [key for key in bad if keys and key not in keys]
    if bad and (others or not good):
        raise bad[next(iter(others or bad))]
    return good, [Unusable(key, str(error)) for key, error in bad.items()]


def others(asked: Sequence[ModelSpec | Unusable]) -> tuple[str, ...]:
    """Return the keys of the zoo's models that were not asked for."""
    from harness.zoo import catalog

    named = {one.key for one in asked}
    return tuple(key for key in catalog.all_keys() if key not in named)


def new_folder(out: Path) -> RunFolder:
    """Begin a run below a results folder; report a clock that is behind the newest run."""
    from harness.records.run_files import RunFolder

    return RunFolder.new(out, warn=lambda text: say(text, err=True))


class Notes:
    """Sentences about files and lines that are left out: each is printed on stderr once, and kept."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, text: str) -> None:
        """Print and keep a sentence, unless it was there before."""
        if text not in self.texts:
            self.texts.append(text)
            say(f"ane-harness: {text}", err=True)


def load_side(name: str, results: Path, told: Callable[[str], None]) -> Side:
    """Return the records or baselines of a name; report half-written last lines and files left out on stderr."""
    from harness.records.lookup import find

    return find(name, results, told)


def keys_of(models: list[str] | None, tier: str | None) -> frozenset[str] | None:
    """Return the keys of the models to which a command is restricted; None for no restriction.

    Raises
    ------
    UnknownNameError: for an unknown tier.
    """
    if not models and not tier:
        return None
    kept = set(models or ())
    if tier:
        from harness.zoo import catalog

        zoo = catalog.load_zoo(unusable=lambda _key, error: say(f"ane-harness: {error}; left out", err=True))
        kept |= {spec.key for spec in catalog.select(zoo, tier=tier)}
    return frozenset(kept)
