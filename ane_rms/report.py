"""Define the fusion report that is stored with a package: fused norms, and near misses with their reasons.

``ane_rms.convert`` stores it as JSON in the package's user-defined metadata under :data:`METADATA_KEY`, so that it
survives saving and loading.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ane_rms.rescaled import Rescaled
from ane_rms.text_table import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ane_rms import mil

METADATA_KEY = "ane_rms.fusion_report"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Site:
    """One RMSNorm that is, or would be, fused."""

    name: str
    """The name of the value computed, as in the program."""
    spelling: str
    """The form in which the program computes it, for example ``mean_rsqrt_mul``."""
    shape: tuple[int | str, ...]
    """Shape of the input; a dimension unknown until run time is its symbol's name."""
    axes: tuple[int, ...]
    """Normalised axes, counted from the back: -1 is the last."""
    epsilon: float
    """Added to the mean square."""
    has_gamma: bool
    """Whether a scale is part of the site."""
    deviation_bound: float
    """Largest relative deviation from the value as written, for rows of RMS 0.01 or more; 0 if the forms are equal."""
    module: str = ""
    """Path of the torch module it came from, where coremltools knows it."""
    kind: str = "rms_norm"
    """``rms_norm``, or ``l2_norm`` if x is divided by its norm, which is an RMSNorm times a constant."""


@dataclass(frozen=True, slots=True)
class Miss:
    """One site that resembles an RMSNorm and is not fused."""

    name: str
    """The name of the root's value, as in the program."""
    op_type: str
    """The op that takes the root."""
    reason: str
    """The reason why it is not fused, in a sentence."""
    shape: tuple[int | str, ...] = ()
    """Shape of the root's value."""
    module: str = ""
    """Path of the torch module it came from, where coremltools knows it."""
    production: str = ""
    """The production of the grammar that failed: ``quadratic``, ``root``, ``product``, ``rms_norm``; or a pass."""
    broken_by: str = ""
    """The name of the value at which it failed."""
    broken_by_type: str = ""
    """The op that computes that value."""


@dataclass(frozen=True, slots=True)
class Caution:
    """A risk of a fused norm on the device."""

    name: str
    """The site's name."""
    reason: str
    """The risk and the mend, in a sentence."""


@dataclass(frozen=True, slots=True)
class LoweredSite:
    """One RMSNorm that is already lowered, by hand or by an earlier conversion."""

    name: str
    """The name of the value computed, as in the program."""
    form: str
    """The lowering's name; or ``layer_norm_primitives`` for a layer norm that is not one op, or ``instance_norm``."""
    shape: tuple[int | str, ...]
    """Shape of the input; a dimension unknown until run time is its symbol's name."""
    axes: tuple[int, ...]
    """Normalised axes, counted from the back: -1 is the last."""
    epsilon: float
    """Added to the mean square."""
    has_gamma: bool
    """Whether a scale is part of the site, inside the norm or after it."""
    module: str = ""
    """Path of the torch module it came from, where coremltools knows it."""
    kind: str = "rms_norm"
    """``rms_norm``, or ``l2_norm`` if the result, with the number that multiplies it, is of length 1."""


@dataclass(frozen=True, slots=True)
class FusionReport:
    """Every norm site of a program: fused, already lowered, or missed with its reason."""

    fused: tuple[Site, ...] = ()
    """Sites that the conversion fused; in a report without a conversion, those that would fuse."""
    missed: tuple[Miss, ...] = ()
    compute_units: str = ""
    """The compute units requested at conversion; empty in a report without a conversion."""
    lowering: str = ""
    """The lowering strategy of the conversion; empty if nothing was lowered."""
    warnings: tuple[Caution, ...] = ()
    """Cautions about fused sites and, without a site's name, remarks on the whole program."""
    lowered: tuple[LoweredSite, ...] = ()
    """Sites that were lowered before the conversion; in a report without a conversion, those that are lowered."""
    acting: bool = False
    """Whether the passes acted: for ``CPU_AND_NE``, or because the user asked for it."""
    rescaled: tuple[Rescaled, ...] = ()
    """Values that were scaled to fit float16, or could not be."""

    def __str__(self) -> str:
        """Return the report as a table, with a last line of counts."""
        rows = [*map(_fused_row, self.fused), *map(_lowered_row, self.lowered), *map(_missed_row, self.missed)]
        lines = [] if not rows else [table(("site", "", "form", "axes", "epsilon", "gamma", "shape", "remark"), rows)]
        lines += [str(one) for one in self.rescaled]
        lines += [f"warning: {': '.join(filter(None, (one.name, one.reason)))}" for one in self.warnings]
        return "\n".join([*lines, self.counts()])

    def counts(self) -> str:
        """Return the counts, and the subject of the report, in one line."""
        numbers = [f"{len(self.fused)} fused", f"{len(self.missed)} missed"]
        numbers += [f"{len(self.lowered)} lowered before"] if self.lowered else []
        if self.acting:
            how = ", ".join(filter(None, (self.compute_units or "unset compute units", self.lowering)))
            return f"{', '.join(numbers)} (converted for {how})"
        if self.compute_units:
            return f"{', '.join(numbers)} (converted for {self.compute_units}: the passes did not act)"
        if self.lowered:
            more = f"{len(self.fused)} more would fuse, {len(self.missed)} missed"
            return f"{len(self.lowered)} lowered already, {more} (as this program stands)"
        remark = "it was not converted through ane_rms, and `fused` means it would be"
        return f"{', '.join(numbers)} (as this program stands: {remark})"

    def to_json(self) -> str:
        """Return the report as JSON, with the version of its format."""
        return json.dumps({"version": VERSION, **asdict(self)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> FusionReport:
        """Return the report in ``text``.

        Raises
        ------
        ValueError: if it is not a report, or has a newer format.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"not a fusion report: {error}") from None
        if not isinstance(data, dict) or not isinstance(data.get("version"), int):
            raise ValueError("not a fusion report: no version")  # noqa: TRY004 - the text is wrong, not a type
        if data["version"] > VERSION:
            raise ValueError(
                f"a fusion report of version {data['version']}, this ane_rms reads up to {VERSION}: update ane_rms"
            )
        try:
            return cls(
                fused=tuple(_record(Site, item) for item in data["fused"]),
                missed=tuple(_record(Miss, item) for item in data["missed"]),
                warnings=tuple(_record(Caution, item) for item in data.get("warnings", ())),
                rescaled=tuple(_record(Rescaled, item) for item in data.get("rescaled", ())),
                compute_units=str(data["compute_units"]),
                lowering=str(data["lowering"]),
                lowered=tuple(_record(LoweredSite, item) for item in data.get("lowered", ())),
                acting=bool(data.get("acting", data["compute_units"] == "CPU_AND_NE")),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a fusion report: {error!r}") from None


def _record(kind: type[Any], item: Mapping[str, Any]) -> Any:
    """Return ``item`` as a ``kind``, with lists as tuples; unknown keys are an error."""
    names = {entry.name for entry in fields(kind)}
    if unknown := set(item) - names:
        raise TypeError(f"unknown keys {sorted(unknown)}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in item.items()})


def _fused_row(site: Site) -> tuple[str, ...]:
    bound = f"deviates by up to {site.deviation_bound:.1e}" if site.deviation_bound else ""
    given = (site.spelling, _plain(site.axes), f"{site.epsilon:g}", "yes" if site.has_gamma else "no")
    return (site.name, "fused", *given, _plain(site.shape), bound)


def _lowered_row(site: LoweredSite) -> tuple[str, ...]:
    given = (site.form, _plain(site.axes), f"{site.epsilon:g}", "yes" if site.has_gamma else "no")
    return (site.name, "lowered", *given, _plain(site.shape), "")


def _missed_row(miss: Miss) -> tuple[str, ...]:
    return (miss.name, "missed", miss.op_type, "", "", "", _plain(miss.shape), miss.reason)


def _plain(values: tuple[int | str, ...]) -> str:
    return ", ".join(map(str, values))


_live: WeakKeyDictionary[mil.Program, FusionReport] = WeakKeyDictionary()
"""Reports of programs that the fusion has processed; a conversion with ``pipeline()`` alone leaves no other."""


def keep_report(program: mil.Program, found: FusionReport) -> None:
    """Keep the report of ``program`` for as long as the program lives."""
    _live[program] = found


def kept_report(program: mil.Program) -> FusionReport | None:
    """Return the report that was kept for ``program``, or None."""
    return _live.get(program)
