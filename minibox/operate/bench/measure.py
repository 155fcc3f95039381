"""What was measured, and how much work is done for it."""

import statistics
from collections.abc import Sequence

import msgspec

MIB = 1024 * 1024


class Scale(msgspec.Struct, frozen=True):
    """Sizes in bytes, and how many of what. The defaults are those of the comparison with peers."""

    big_bytes: int = 256 * MIB
    middle_bytes: int = 64 * MIB
    middle_files: int = 4
    small_bytes: int = 10 * 1024
    small_files: int = 2000
    connections: int = 8
    library_bytes: int = 1024 * MIB
    tree_files: int = 20_000


class Measure(msgspec.Struct, frozen=True):
    """The median of some passes; ``limit`` names what of the machine it is a ``share`` of."""

    name: str
    median: float
    lowest: float
    highest: float
    unit: str
    p50_ms: float | None = None
    p99_ms: float | None = None
    limit: str | None = None
    share: float | None = None


def median_of(
    name: str,
    unit: str,
    values: Sequence[float],
    latencies: Sequence[float] = (),
    limit: tuple[str, float] | None = None,
) -> Measure:
    """A measure from the values of each pass and the latencies (seconds) of all calls."""
    median = statistics.median(values)
    ordered = sorted(latencies)
    return Measure(
        name=name,
        median=round(median, 2),
        lowest=round(min(values), 2),
        highest=round(max(values), 2),
        unit=unit,
        p50_ms=_quantile_ms(ordered, 0.5),
        p99_ms=_quantile_ms(ordered, 0.99),
        limit=limit[0] if limit else None,
        share=round(median / limit[1], 3) if limit else None,
    )


def _quantile_ms(ordered: Sequence[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[round(share * (len(ordered) - 1))] * 1000, 2)
