"""Fixtures: one cluster for each file of tests, and a new user in it for each test."""

from itertools import count

import pytest
from whole_cluster import Cluster

_numbers = count(1)


@pytest.fixture(scope="module")
def cluster():
    return Cluster()


@pytest.fixture
def alice(cluster):
    return cluster.user(f"alice{next(_numbers)}")


@pytest.fixture
def bob(cluster):
    return cluster.user(f"bob{next(_numbers)}")


@pytest.fixture(scope="module")
def admin(cluster):
    return cluster.login("admin", "the admin's password")
