"""What commands are asked for by name: models, variants, lowerings, policies; checked before heavy imports."""

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

REGIME_POLICIES = "fp16,fp16-blocked,fp16-sequential,fp32,ane-m1,ane-m5"


def listed(kind: str, given: str | None, known: Iterable[str]) -> list[str]:
    """Return the names of an option that takes several, separated by commas, each known to exist."""
    from harness.errors import check_name

    known = list(known)
    return [check_name(kind, name, known) for name in (given or "").split(",") if name]


def variants(given: list[str]) -> list[str]:
    """Return the variants named, or all."""
    from harness.plan.variants import resolve

    return [variant.name for variant in resolve(given)]


def names(lowering: str | None, precision: str | None, frontend: str, *, regimes: bool) -> tuple[list[str], list[str]]:
    """Return the lowerings and policies asked for, each known to exist."""
    from harness.errors import check_name
    from harness.interpreter.precision import DEFAULT_POLICY, POLICIES
    from harness.plan.lowerings import lowerings as known
    from harness.plan.run_plan import FRONTENDS

    check_name("frontend", frontend, FRONTENDS)
    lowerings = listed("lowering", lowering, known())
    policies = (precision or REGIME_POLICIES).split(",") if regimes else [precision or DEFAULT_POLICY]
    for policy in policies:
        POLICIES.check(policy)
    return lowerings or list(known() if regimes else known()[:1]), policies


def compressions(given: str | None, policy: str) -> tuple[str, ...]:
    """Return the compressions asked for, none at all first."""
    from harness.convert.compression import SCHEMES
    from harness.errors import ArgumentError
    from harness.interpreter.precision import POLICIES

    chosen = listed("compression", given, SCHEMES)
    if POLICIES[policy].wide and (palettes := [name for name in chosen if SCHEMES[name].float16_only]):
        raise ArgumentError(
            f"--compression {palettes[0]}: palettes are of float16 weights; not with --precision {policy}"
        )
    return ("", *dict.fromkeys(chosen))


def specs(
    weights: Checkpoint | None, keys: list[str], tier: str, *, regimes: bool
) -> tuple[list[ModelSpec], list[Unusable]]:
    """Return what is to be run: the checkpoint's one entry, or models of the zoo."""
    if regimes:
        return [], []
    if weights is None:
        return select(keys, tier)
    from harness.zoo.catalog import load_zoo
    from harness.zoo.checkpoint import spec_of

    return [spec_of(weights, load_zoo(unusable=lambda _key, _error: None))], []


def select(keys: list[str], tier: str) -> tuple[list[ModelSpec], list[Unusable]]:
    """Return the models asked for, and those whose files cannot be used.

    Raises
    ------
    ZooFileError: where nothing usable was asked for, or a file beside the models named is bad.
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
    """Begin a run below a results folder; a clock that is behind the newest one is said."""
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
    """Return what a name stands for; a half-written last line, and files left out, are said on stderr."""
    from harness.records.lookup import find

    return find(name, results, told)


def keys_of(models: list[str] | None, tier: str | None) -> frozenset[str] | None:
    """Return the keys of the models that a command is restricted to; None for no restriction.

    Raises
    ------
    UnknownNameError: for an unknown tier.
    """
    if not models and not tier:
        return None
    kept = set(models or ())
    if tier:
        from harness.zoo import catalog

        kept |= {spec.key for spec in catalog.select(catalog.load_zoo(), tier=tier)}
    return frozenset(kept)
