"""A fusion report as tables: every norm site with its reason, peaks, rescaled regions, warnings, lowerings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.table import DECIDING, DETAIL, Document, Table, head, places

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import ane_rms


def _listed(values: Sequence[int | str]) -> str:
    return ", ".join(map(str, values))


SITES = places(
    head("site", priority=DECIDING, width=16),
    head("module", width=16, priority=DETAIL),
    head("state", priority=DECIDING),
    head("spelling", priority=DECIDING),
    head("axes", _listed),
    head("epsilon", "g", priority=DECIDING),
    head("gamma", lambda value: "yes" if value else "no"),
    head("shape", _listed),
    head("reason", priority=DECIDING, width=20),
)
PEAKS = places(
    head("value", priority=DECIDING, width=16),
    head("peak", ",.3g", priority=DECIDING),
    head("after", ",.3g"),
    head("ceiling", ",.0f", priority=DECIDING),
    head("of the ceiling", ".1%", priority=DECIDING),
    head("after, of the ceiling", ".1%"),
)
LOWERINGS = places(
    head("families", priority=DECIDING, width=10),
    head("lowering auto", priority=DECIDING),
    head("sites", "d", priority=DECIDING),
    head("why", priority=DECIDING, width=24),
)


def document(
    report: ane_rms.FusionReport,
    peaks: Sequence[tuple[str, float, float, float]] = (),
    lowerings: Sequence[tuple[str, str, int, str]] = (),
) -> Document:
    """Return the tables.

    Parameters
    ----------
    report: of a conversion, or of a program as it stands.
    peaks: name, peak, peak after the rescale and ceiling of values in calibration.
    lowerings: families, lowering, number of sites and reason of each choice of ``auto``.
    """
    sites = Table(SITES, list(_sites(report)), "sites")
    shares = [
        (name, before, after, ceiling, before / ceiling, after / ceiling) for name, before, after, ceiling in peaks
    ]
    values, chosen = Table(PEAKS, shares, "peaks"), Table(LOWERINGS, list(lowerings), "lowerings")
    texts = [str(entry) for entry in report.rescaled]
    texts += [f"warning: {': '.join(filter(None, (one.name, one.reason)))}" for one in report.warnings]
    data: dict[str, Any] = {one.name: one.objects() for one in (sites, values, chosen)}
    data |= {"rescaled": list(report.rescaled), "warnings": list(report.warnings), "counts": _counts(report)}
    return Document([sites, values, *(["\n".join(texts)] if texts else []), chosen, report.counts()], data=data)


def _counts(report: ane_rms.FusionReport) -> dict[str, Any]:
    return {
        "fused": len(report.fused),
        "missed": len(report.missed),
        "lowered": len(report.lowered),
        "compute_units": report.compute_units,
        "lowering": report.lowering,
        "acting": report.acting,
    }


def _sites(report: ane_rms.FusionReport) -> Iterator[tuple[Any, ...]]:
    for site in report.fused:
        bound = f"deviates by up to {site.deviation_bound:.1e}" if site.deviation_bound else ""
        yield site.name, site.module, "fused", site.spelling, *_numbers(site), bound
    for one in report.lowered:
        yield one.name, one.module, "lowered", one.form, *_numbers(one), ""
    for miss in report.missed:
        yield miss.name, miss.module, "missed", miss.op_type, None, None, None, miss.shape, miss.reason


def _numbers(site: ane_rms.Site | ane_rms.LoweredSite) -> tuple[Any, ...]:
    return site.axes, site.epsilon, site.has_gamma, site.shape
