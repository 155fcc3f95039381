"""Seeds that once broke an invariant, with what they showed. They are run for ever.

A run is decided by its seed and the code of the simulation: when that changes, a seed tells another
story, and what it showed needs a test of its own beside it (named here).
"""

KEPT_SEEDS = {
    1: "the parameter {sha256} of a route was not filled in: PUT …/chunks/{sha256} was a 500",
    3: "a commit repeated under its idempotency key met UploadExpired instead of its answer",
    73: "two groups of chunks of which one found too few nodes were a 500, not a 503",
}
