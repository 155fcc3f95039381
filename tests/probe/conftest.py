"""Probes: real processes, one fault each."""

import pytest
from real_cluster import RealCluster


@pytest.fixture
def make_cluster(tmp_path):
    """Makes clusters in this test's folder; none of their processes outlives the test."""
    made = []

    def make(**settings):
        folder = tmp_path / f"cluster{len(made)}"
        folder.mkdir()
        made.append(RealCluster(folder, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def cluster(make_cluster):
    """Three nodes and a coordinator that serve, with the administrator logged in."""
    made = make_cluster(repair_seconds=0.5)
    made.start_all()
    made.log_in()
    return made
