"""How fast a cluster is, beside what its machine could do in the same minutes."""

from minibox.operate.bench.limits import Limits, measure_limits
from minibox.operate.bench.measure import Measure, Scale
from minibox.operate.bench.temporary import temporary_cluster
from minibox.operate.bench.through_http import measure_http
from minibox.operate.bench.through_library import measure_library

__all__ = [
    "Limits",
    "Measure",
    "Scale",
    "measure_http",
    "measure_library",
    "measure_limits",
    "temporary_cluster",
]
