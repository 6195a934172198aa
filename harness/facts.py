"""What is known of a converted model without running it: a part of its record, kept in the cache beside the package."""

from __future__ import annotations

import msgspec

from harness.store.schema import SiteRecord


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Counts of one conversion; each field is the record's of the same name."""

    norms_expected: int
    norms_executed: int
    fused: int
    missed: int
    sites: tuple[SiteRecord, ...]
    ops_before: int
    ops_after: int
    norm_ops: int | None
    norm_bytes: int | None
    warnings: tuple[str, ...]
    marks: tuple[str, ...]
