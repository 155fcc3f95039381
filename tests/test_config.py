from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibox.config import Config, demo_config, load_config, parse_config
from minibox.config_source import Scalar, duration, listener, size
from minibox.errors import ConfigInvalid

FILE = Path("/etc/minibox/cluster.yaml")
GOOD = """\
cluster: {name: demo, replicas: 3, ack: 2}
coordinator:
  http: "tcp:8000:interface=127.0.0.1"
  cluster: "tcp:8001:interface=127.0.0.1"
  data: var/coordinator
nodes:
  n1: {listen: "tcp:8101:interface=127.0.0.1", data: [var/n1], zone: a, capacity: 100GiB}
  n2: {listen: "tcp:8102:interface=127.0.0.1", data: [/disk/n2], zone: b, capacity: 100GB}
  n3: {listen: "tcp:8103:interface=127.0.0.1", data: [var/a, var/b]}
"""


def parsed(text: str = GOOD, **environment: str) -> Config:
    return parse_config(text, FILE, environment)


def refusal(text: str = GOOD, **environment: str) -> ConfigInvalid:
    with pytest.raises(ConfigInvalid) as refused:
        parsed(text, **environment)
    return refused.value


def line(refused: ConfigInvalid) -> int:
    file, _, number = refused.where.rpartition(":")
    assert file == str(FILE)
    return int(number)


def test_a_file_becomes_a_config_with_paths_from_its_own_folder():
    config = parsed()
    assert config.cluster.name == "demo"
    assert config.cluster.secret_file == Path("/etc/minibox/cluster.key")
    assert config.coordinator.data == Path("/etc/minibox/var/coordinator")
    assert list(config.nodes) == ["n1", "n2", "n3"]
    assert config.nodes["n1"].data == (Path("/etc/minibox/var/n1"),)
    assert config.nodes["n2"].data == (Path("/disk/n2"),)
    assert config.nodes["n1"].capacity == 100 * 2**30
    assert config.nodes["n2"].capacity == 100 * 10**9
    assert (config.nodes["n3"].id, config.nodes["n3"].zone) == ("n3", "default")


def test_what_is_not_written_has_its_documented_default():
    config = parsed("nodes:" + GOOD.partition("nodes:")[2])
    assert (config.cluster.replicas, config.cluster.ack) == (3, 2)
    assert config.coordinator.http == "tcp:8000:interface=127.0.0.1"
    assert config.coordinator.data == Path("/etc/minibox/var/coordinator")
    assert config.coordinator.suspect_seconds == 3
    assert config.coordinator.lost_seconds == 600
    assert config.coordinator.access_token_hours == 12
    assert config.coordinator.registration == "open"
    assert config.coordinator.default_quota_bytes is None


def test_sections_may_stand_empty():
    assert parsed(GOOD.replace("cluster: {name: demo, replicas: 3, ack: 2}", "cluster:"))


@pytest.mark.parametrize(
    ("old", "new", "at", "says"),
    [
        ("replicas: 3", "replica: 3", 1, "did you mean 'replicas'"),
        ("coordinator:", "coordinater:", 2, "did you mean 'coordinator'"),
        ("zone: a", "zones: a", 7, "did you mean 'zone'"),
        ("  data: var", "  xyzzy: var", 5, "known here: access_token_hours"),
        ("replicas: 3", "replicas: three", 1, "whole number"),
        ("replicas: 3", "replicas: 3.0", 1, "whole number"),
        ("replicas: 3", "replicas: 0x3", 1, "whole number"),
        ("replicas: 3", "replicas: -1", 1, "whole number"),
        ("replicas: 3", "replicas: 0", 1, "at least 1"),
        ("replicas: 3", "replicas: [3]", 1, "whole number"),
        ("replicas: 3", "replicas: ", 1, "whole number"),
        ("replicas: 3", "replicas: 4", 1, "write 'replicas: 3'"),
        ("ack: 2", "ack: 4", 1, "'ack: 4' asks for more"),
        ("ack: 2", "ack: most", 1, "'all'"),
        ("ack: 2", "ack: 0", 1, "'all'"),
        ("name: demo", "name: 7", 1, "'7'"),
        ("name: demo", "name: yes", 1, "'yes'"),
        ("name: demo", "name: ''", 1, "text"),
        ("name: demo", "name: demo, name: other", 1, "stands in line 1 already"),
        ("  n3:", "  n1:", 9, "stands in line 7 already"),
        ("  n3:", "  N1:", 9, "too like 'n1'"),
        ("  n3:", "  'n 3':", 9, "can't name a node"),
        ("  n3:", "  '../n3':", 9, "can't name a node"),
        ("100GiB", "100 apples", 7, "a size such as"),
        ("100GiB", "-1", 7, "a size such as"),
        ("100GiB", "[1]", 7, "a size such as"),
        ("[var/n1]", "[]", 7, "at least one"),
        ("[var/n1]", "var/n1", 7, "a list"),
        ("[var/n1]", "[x, x]", 7, "stands twice"),
        ("[var/n1]", "[[x]]", 7, "expected text"),
        ("data: [var/n1], ", "", 7, "has no 'data'; write 'data: [var/n1]'"),
        ('listen: "tcp:8101:interface=127.0.0.1", ', "", 7, "has no 'listen'"),
        ("tcp:8102", "tcp:8101", 8, "port 8101 is taken by /etc/minibox/cluster.yaml:7"),
        ("tcp:8103", "tcp:8000", 3, "port 8000 is taken by /etc/minibox/cluster.yaml:9"),
        ("tcp:8001", "tcp:8000", 4, "port 8000 is taken"),
        ("tcp:8101:interface=127.0.0.1", "tcp:0:interface=127.0.0.1", 7, "must know"),
        ("tcp:8101:interface=127.0.0.1", "8101", 7, "tcp:8000:interface"),
        ("tcp:8101:interface=127.0.0.1", "http:8101", 7, "no endpoint"),
        ("tcp:8101:interface=127.0.0.1", "tcp:99999", 7, "no port"),
        ("tcp:8101:interface=127.0.0.1", "tcp:8101", 7, "unencrypted"),
        ("tcp:8101:interface=127.0.0.1", "tcp:8101:interface=0.0.0.0", 7, "unencrypted"),
        ("tcp:8000:interface=127.0.0.1", "tcp:8000", 3, "allow_plaintext: true"),
        ("  data: var", "  suspect_seconds: 20\n  data: var", 5, "rise in this order"),
        ("  data: var", "  lease_minutes: soon\n  data: var", 5, "a time such as 10min"),
        ("  data: var", "  lease_minutes: 5 weeks\n  data: var", 5, "a time such as 10min"),
        ("  data: var", "  lease_minutes: 0\n  data: var", 5, "more than nothing"),
        ("  data: var", "  registration: maybe\n  data: var", 5, "open, closed or invite"),
        ("  data: var", "  bcrypt_cost: 40\n  data: var", 5, "from 4 to 16"),
        ("name: demo", "allow_plaintext: maybe", 1, "true or false"),
        ("name: demo", "name: demo]", 1, "expected"),
        ("  data: var", "\tdata: var", 5, "found character"),
    ],
)
def test_a_mistake_is_refused_with_its_line_and_the_remedy(old, new, at, says):
    assert old in GOOD
    refused = refusal(GOOD.replace(old, new, 1))
    assert line(refused) == at
    assert says in refused.reason


@pytest.mark.parametrize("text", ["", "nodes:", "nodes: []", "nodes: {}", "[]", "just text", "{"])
def test_a_file_without_nodes_is_refused(text):
    refusal(text)


@given(st.one_of(st.text(max_size=100), st.text("nodescluter:{}[]&*!- '\n\t#|>", max_size=60)))
def test_any_text_is_a_config_or_refused_by_one_failure(text):
    try:
        parsed(text)
    except ConfigInvalid:
        return


def test_hostile_yaml_is_refused_by_one_failure():
    for text in ("!!python/object:os.system {}", "a: &a [*a]", "[" * 5000, "? [a]\n: b", "a: \x00"):
        refusal(text)


def test_every_value_can_be_set_from_the_environment():
    config = parsed(
        MINIBOX_CLUSTER_NAME="123",
        MINIBOX_CLUSTER_ACK="all",
        MINIBOX_CLUSTER_ALLOW_PLAINTEXT="true",
        MINIBOX_COORDINATOR_HTTP="tcp:9000",
        MINIBOX_COORDINATOR_LOST_SECONDS="1h",
        MINIBOX_COORDINATOR_DEFAULT_QUOTA_BYTES="5GB",
        MINIBOX_COORDINATOR_MAX_FILE_BYTES="none",
        MINIBOX_NODES_N1_CAPACITY="1TiB",
        MINIBOX_NODES_N1_DATA="/disks/a, /disks/b",
    )
    assert (config.cluster.name, config.cluster.ack) == ("123", 3)
    assert config.coordinator.http == "tcp:9000"
    assert config.coordinator.lost_seconds == 3600
    assert config.coordinator.default_quota_bytes == 5 * 10**9
    assert config.nodes["n1"].capacity == 2**40
    assert config.nodes["n1"].data == (Path("/disks/a"), Path("/disks/b"))


def test_a_variable_can_supply_what_the_file_leaves_out():
    text = GOOD.replace("data: [var/n1], ", "")
    assert parsed(text, MINIBOX_NODES_N1_DATA="d").nodes["n1"].data == (Path("/etc/minibox/d"),)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("MINIBOX_CLUSTER_REPLICAS", "many", "whole number"),
        ("MINIBOX_CLUSTER_REPLICAS", "5", "5 copies need 5 nodes"),
        ("MINIBOX_CLUSTER_ACK", "9", "asks for more"),
        ("MINIBOX_CLUSTER_REPLICA", "3", "did you mean 'MINIBOX_CLUSTER_REPLICAS'"),
        ("MINIBOX_NODES_N9_ZONE", "a", "did you mean 'MINIBOX_NODES_N"),
        ("MINIBOX_NODES_N1_CAPACITY", "", "a size"),
        ("MINIBOX_NODES_N1_DATA", " , ", "at least one"),
        ("MINIBOX_COORDINATOR_HTTP", "tcp:80", "unencrypted"),
        ("MINIBOX_COORDINATOR_SUSPECT_SECONDS", "1h", "rise"),
    ],
)
def test_a_mistake_in_the_environment_names_the_variable(variable, value, says):
    refused = refusal(**{variable: value})
    assert refused.where == variable
    assert says in refused.reason


def test_variables_that_are_no_settings_are_left_to_others():
    assert parsed(MINIBOX_ADMIN_PASSWORD="x", MINIBOX_URL="x", MINIBOX_TOKEN="x", PATH="x")


def test_a_lone_replica_acknowledges_alone():
    text = 'cluster: {replicas: 1}\nnodes: {n1: {listen: "unix:/run/n1", data: [d]}}'
    assert parsed(text).cluster.ack == 1


def test_default_listeners_collide_with_written_ones():
    text = "nodes:" + GOOD.partition("nodes:")[2].replace("8102", "8001")
    assert "port 8001 is taken" in refusal(text).reason


def test_tls_may_listen_everywhere_and_all_interfaces_include_each():
    everywhere = "tls:8101:privateKey=k.pem:certKey=c.pem"
    text = GOOD.replace("tcp:8101:interface=127.0.0.1", everywhere)
    assert parsed(text).nodes["n1"].listen == everywhere
    assert "is taken" in refusal(text.replace("tcp:8102", "tcp:8101")).reason
    other = text.replace("tcp:8102:interface=127.0.0.1", r"tls:8101:interface=10.0.0.1")
    assert "is taken" in refusal(other).reason


@pytest.mark.parametrize(
    "private", [r"tcp:1:interface=\:\:1", "tcp:1:interface=127.9.9.9", "unix:/s"]
)
def test_what_stays_on_the_machine_is_private(private):
    assert listener(private, "").is_private


@pytest.mark.parametrize("public", ["tcp:1", "tcp:1:interface=127.0.0.1.example.org", "tcp6:1"])
def test_what_leaves_the_machine_is_not(public):
    assert not listener(public, "").is_private


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("12", 12),
        ("1k", 1000),
        ("1KiB", 1024),
        ("1.5 GiB", 3 * 2**29),
        ("2TB", 2 * 10**12),
    ],
)
def test_sizes_are_decimal_or_binary_as_written(text, count):
    assert size(Scalar(text, "")) == count


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [("90", "s", 90), ("1.5min", "s", 90), ("2h", "min", 120), ("500ms", "s", 0.5), ("7d", "d", 7)],
)
def test_a_time_is_in_the_unit_of_its_setting_unless_it_names_one(text, unit, value):
    assert duration(Scalar(text, ""), unit) == value


@pytest.mark.parametrize("nodes", [1, 2, 3, 20])
def test_the_demo_is_a_good_config(nodes):
    config = parsed(demo_config(nodes, http_port=9000))
    assert len(config.nodes) == nodes
    assert config.cluster.replicas == min(nodes, 3)
    assert config.cluster.ack == (2 if nodes >= 3 else 1)


def test_the_example_at_the_root_is_the_demo_of_three_nodes():
    path = Path(__file__).parent.parent / "cluster.yaml"
    example, demo = load_config(path, {}), parse_config(demo_config(3), path, {})
    assert example == demo


def test_a_missing_or_unreadable_file_is_refused_by_name(tmp_path):
    (tmp_path / "latin").write_bytes(b"\xe9")
    for path in (tmp_path / "missing.yaml", tmp_path, tmp_path / "latin"):
        with pytest.raises(ConfigInvalid) as refused:
            load_config(path, {})
        assert refused.value.where == str(path)
