"""The documents say what the program has: a name that is missing there is missing for people."""

import re
from pathlib import Path

import msgspec
import pytest

from minibox import http_api as api_package
from minibox.config import ClusterConfig, CoordinatorConfig, NodeConfig, parse_config
from minibox.http_api import accounts, cluster, files, uploads
from minibox.http_api.route import Route

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
ROUTES = [
    each
    for module in (accounts, cluster, files, uploads)
    for each in vars(module).values()
    if isinstance(each, Route)
]


def test_every_module_of_the_api_with_routes_is_looked_at():
    folder = Path(next(iter(api_package.__path__)))
    with_routes = {
        path.stem
        for path in folder.glob("*.py")
        if re.search(r"= Route\(|: Route\[", path.read_text())
    }
    assert with_routes == {"accounts", "cluster", "files", "uploads"}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_each_call_stands_in_the_list(route):
    assert (
        f"| `{route.method} {route.template}` | {route.access} |" in (DOCS / "api.md").read_text()
    )


def test_each_key_of_cluster_yaml_is_explained_and_no_other():
    explained = re.findall(
        r"^\| `(\w+(?:\.\w+)+)` \|", (DOCS / "configuration.md").read_text(), re.MULTILINE
    )
    sections = {"cluster": ClusterConfig, "coordinator": CoordinatorConfig, "nodes.ID": NodeConfig}
    assert explained == [
        f"{section}.{field.name}"
        for section, config in sections.items()
        for field in msgspec.structs.fields(config)
        if field.name != "id"
    ]


def test_what_cluster_yaml_shows_in_comments_are_the_defaults():
    path = ROOT / "cluster.yaml"
    written = path.read_text()
    shown, number = re.subn(r"^( +)# (?=\w+: )", r"\1", written, flags=re.MULTILINE)
    assert number > len(CoordinatorConfig.__struct_fields__) / 2
    assert parse_config(shown, path, {}) == parse_config(written, path, {})


def test_links_between_documents_lead_somewhere():
    for document in (ROOT / "README.md", *DOCS.rglob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), (document.name, target)
