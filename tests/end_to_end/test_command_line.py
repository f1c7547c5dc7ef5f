"""The command line on a cluster of three nodes: what each command does, prints and ends with."""

import json
import signal
from collections.abc import Iterator

import pytest
import yaml
from typer.testing import CliRunner

from garbagetruck.cli.app import app
from garbagetruck.cli.exits import Exit
from tests.cluster_fixtures.command_line import Line, environment, until
from tests.cluster_fixtures.local import LocalCluster
from tests.cluster_fixtures.prepared import prepare


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    local = LocalCluster(tmp_path_factory.mktemp("commanded") / "cluster")
    try:
        local.start()
        prepare(local, dead_letters=("broken/1", "broken/2"), sessions=("crawler-1", "crawler-2"))
        yield local
    finally:
        local.stop()


@pytest.fixture
def run(cluster: LocalCluster) -> Line:
    return Line(cluster)


# -- leases ----------------------------------------------------------------------------------------------------------


def test_a_lease_from_its_acquire_to_its_release(run: Line) -> None:
    lease = run.json("lease acquire a/1 --ttl 30s --holder h --label team=x --grace 10s")
    assert (lease["resource"], lease["holder"], lease["ttl_ms"], lease["session"]) == ("a/1", "h", 30_000, None)
    assert 0 < lease["remaining_ms"] <= 30_000
    (renewed,) = run.json(f"lease renew {lease['id']} --ttl 1m")["leases"]
    assert 30_000 < renewed["remaining_ms"] <= 60_000
    assert run.json(f"lease get {lease['id']}")["state"] == "active"
    out, _ = run(f"lease release {lease['id']}")
    assert out.split() == ["ID", "STATE", lease["id"], "released"]
    assert run.json(f"lease get {lease['id']}")["state"] == "released"


def test_i6_an_acquire_repeated_under_its_request_id_is_one_lease(run: Line) -> None:
    line = "lease acquire a/2 --ttl 30s --request-id once"
    assert run.name(line) == run.name(line)
    _, told = run("lease acquire a/3 --ttl 30s --request-id once", exits=Exit.REFUSED)
    assert "leave --request-id out" in told


def test_each_of_several_leases_is_refused_by_itself(run: Line) -> None:
    lease_id = run.name("lease acquire a/4 --ttl 30s")
    said = run.json(f"lease renew {lease_id} nothing", exits=Exit.NOT_FOUND)
    assert [each["id"] for each in said["leases"]] == [lease_id]
    assert [each["reason"] for each in said["errors"]] == ["LEASE_NOT_FOUND"]
    out, told = run(f"lease release nothing {lease_id}", exits=Exit.NOT_FOUND)
    assert lease_id in out
    assert "LEASE_NOT_FOUND" in told


def test_a_renewal_after_the_end_is_a_failed_precondition(run: Line) -> None:
    lease_id = run.name("lease acquire a/5 --ttl 30s")
    run(f"lease release {lease_id}")
    _, told = run(f"lease renew {lease_id}", exits=Exit.PRECONDITION)
    assert "released" in told


def test_all_leases_of_a_holder_are_released_at_once(run: Line) -> None:
    for number in range(3):
        run(f"lease acquire b/{number} --ttl 30s --holder many")
    assert run.json("lease release --holder many") == {"holder": "many", "released": 3}
    _, told = run("lease list --holder many")
    assert told == "No leases.\n"


def test_lists_are_paged_and_filtered(run: Line) -> None:
    for number in range(5):
        run(f"lease acquire page/{number} --ttl 1m --holder pager --label even={number % 2 == 0} --label n={number}")
    names = {f"page/{number}" for number in range(5)}
    first = run.json("lease list --holder pager --limit 2")
    assert len(first["leases"]) == 2
    rest = run.json(f"lease list --holder pager --limit 100 --page-token {first['next_page_token']}")
    assert {each["resource"] for each in first["leases"] + rest["leases"]} == names
    assert rest["next_page_token"] == ""
    assert len(run.json("lease list --holder pager --all")["leases"]) == 5
    assert len(run.json("lease list -l even=True")["leases"]) == 3
    assert len(run.json("lease list -l even=True,n=2")["leases"]) == 1
    assert len(run.json("lease list --label even=True --selector n=1")["leases"]) == 0
    _, told = run("lease list --holder pager --limit 1")
    assert "--page-token" in told
    assert set(run.name("resource list --prefix page/ --all").split()) == names
    _, told = run("lease list --page-token nonsense", exits=Exit.REFUSED)
    assert told.startswith("Error: --page-token: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["", "--ttl", "30s"], "RESOURCE: is empty"),
        (["n" * 1025, "--ttl", "30s"], "RESOURCE: is 1025 bytes long; at most 1024"),
        (["a\udcff", "--ttl", "30s"], "cannot be written as UTF-8"),
        (["a", "--ttl", "0s"], "--ttl: is 0; it must be from 100"),
        (["a", "--ttl", "99999d"], "--ttl: is 8639913600000; it must be from 100"),
        (["a", "--ttl", "30s", "--holder", "h" * 257], "--holder: is 257 bytes long"),
        (["a", "--ttl", "30s", "--cleanup", "nope:a=b"], "--cleanup: no handler 'nope' is registered; there are: file"),
        (["a", "--ttl", "30s", "--cleanup", "file:pth=b"], "--cleanup: parameter pth: is not a parameter"),
        (["a", "--ttl", "30s", "--cleanup", "file:path=../b"], "--cleanup: parameter path: contains `..`"),
        (["a", "--ttl", "30s", "--grace", "9999d"], "--grace: is"),
    ],
)
def test_bad_input_is_refused_with_the_flag_it_came_by_and_leaves_no_trace(
    run: Line, arguments: list[str], told: str
) -> None:
    out, said = run("lease acquire", *arguments, exits=Exit.REFUSED)
    assert out == ""
    assert told in said
    assert run.json("lease list --resource a")["leases"] == []


def test_a_namespace_that_is_not_there_is_not_found(run: Line) -> None:
    _, told = run("lease list -n nowhere", exits=Exit.NOT_FOUND)
    assert "namespace set" in told


# -- everything else that can be looked at, in every format ------------------------------------------------------------


LISTS = {
    "lease list": ("leases", "id"),
    "session list": ("sessions", "id"),
    "resource list": ("resources", "resource"),
    "cleanup list": ("cleanups", "resource"),
    "namespace list": ("namespaces", "namespace"),
    "member list": ("members", "id"),
}


@pytest.mark.parametrize("line", LISTS)
def test_every_list_says_the_same_in_every_format(run: Line, line: str) -> None:
    key, name = LISTS[line]
    run("lease acquire formats --ttl 5m")
    listed = run.json(line)
    assert listed.keys() == {key, "next_page_token"}
    names = [each[name] for each in listed[key]]
    assert names
    assert [each[name] for each in yaml.safe_load(run(f"{line} -o yaml")[0])[key]] == names
    assert run.name(line).split() == names
    table, wide = run(line)[0].splitlines(), run(f"{line} -o wide")[0].splitlines()
    assert len(table) == len(wide) == len(names) + 1
    assert len(wide[0]) > len(table[0])
    assert [row.split()[0] for row in table[1:]] == names


def test_status_is_a_table_or_the_object_of_the_contract(run: Line, cluster: LocalCluster) -> None:
    shown = json.loads(run.healthy("-o", "json"))
    assert shown["healthy"] is True
    assert shown["leader"] in cluster.nodes
    assert sorted(each["id"] for each in shown["nodes"]) == ["n1", "n2", "n3"]
    assert "healthy, leader n" in run.healthy()
    assert run.healthy("-o", "name").split() == ["n1", "n2", "n3"]


def test_a_session_is_listed_and_closed(run: Line) -> None:
    session_id = run.name("session list --holder crawler-1")
    assert run.json(f"session get {session_id}")["state"] == "active"
    run(f"session close {session_id}", exits=Exit.USAGE)
    assert run.json(f"session close {session_id} --yes") == {"id": session_id, "released": 0}
    assert run.json(f"session get {session_id}")["state"] == "closed"
    run("session get nothing", exits=Exit.NOT_FOUND)


def test_a_hold_keeps_an_orphan_until_it_is_taken_away(run: Line, cluster: LocalCluster) -> None:
    (cluster.files / "evidence").write_text("kept")
    lease_id = run.name("lease acquire evidence --ttl 30s --cleanup file:path=evidence")
    hold_id = run.name("resource hold evidence --reason audit")
    run(f"lease release {lease_id}")
    until(lambda: run.json("resource get evidence")["state"] == "due")
    assert run.json("cleanup get evidence")["blocked_by"] == "hold"
    assert [each["reason"] for each in run.json("resource get evidence")["holds"]] == ["audit"]
    assert (cluster.files / "evidence").exists()
    run("resource unhold evidence nothing --yes", exits=Exit.NOT_FOUND)
    run(f"resource unhold evidence {hold_id} --yes")
    until(lambda: not (cluster.files / "evidence").exists())
    until(lambda: run.json("resource get evidence")["state"] == "cleaned")
    run("resource get nothing", exits=Exit.NOT_FOUND)


def test_a_resource_is_explained_previewed_and_forgotten(run: Line, cluster: LocalCluster) -> None:
    (cluster.files / "story").write_text("told")
    lease_id = run.name("lease acquire story --holder ann --ttl 30s --grace 1h --cleanup file:path=story")
    assert run.json("resource explain story")["summary"].startswith("in use: 1 lease(s) of ann")
    run("resource forget story --reason early --yes", exits=Exit.PRECONDITION)
    run(f"lease release {lease_id}")
    story = run.json("resource explain story")
    assert [each["kind"] for each in story["obstacles"]] == ["grace"]
    assert [each["holder"] for each in story["ended_leases"]] == ["ann"]
    assert "story" not in [each["resource"] for each in run.json("cleanup preview --within 1m --all")["cleanups"]]
    assert "story" in [each["resource"] for each in run.json("cleanup preview --within 2h --all")["cleanups"]]
    table, _ = run("resource explain story")
    assert "Not cleaned, because:" in table
    run("resource forget story --reason early", exits=Exit.USAGE)
    run("resource forget story --reason kept-by-hand --yes")
    assert "kept-by-hand" in run.json("resource explain story")["summary"]
    assert (cluster.files / "story").exists()
    run("resource explain nothing", exits=Exit.NOT_FOUND)


def test_dead_letters_are_listed_retried_and_discarded(run: Line, cluster: LocalCluster) -> None:
    assert run.name("cleanup list --state dead_letter").split() == ["broken/1", "broken/2"]
    assert "broken/1" in run.json("cleanup get broken/1")["target"]
    _, told = run("lease acquire broken/1 --ttl 30s", exits=Exit.PRECONDITION)
    assert "RESOURCE_BEING_CLEANED" in told
    (cluster.files / "broken/1").rmdir()
    run("cleanup retry broken/1")
    until(lambda: run.json("resource get broken/1")["state"] == "cleaned")
    run("cleanup discard broken/2 --yes --reason test")
    assert run.name("cleanup list --state dead_letter") == ""
    run("cleanup retry broken/2", exits=Exit.NOT_FOUND)


def test_cleanups_are_paused_and_resumed(run: Line) -> None:
    run("namespace set paused")
    assert run.json("cleanup pause -n paused --reason test") == {"namespace": "paused", "paused": True}
    shown = run.json("namespace get paused")
    assert (shown["cleanups_paused"], shown["pause_reason"]) == (True, "test")
    run("cleanup resume -n paused")
    run("cleanup resume -n paused", exits=Exit.PRECONDITION)
    run("cleanup pause --all-namespaces")
    assert json.loads(run.healthy("-o", "json"))["cleanup"]["paused"] is True
    run("cleanup resume -A --yes")
    assert json.loads(run.healthy("-o", "json"))["cleanup"]["paused"] is False


def test_a_namespace_is_made_set_and_guarded_by_its_revision(run: Line) -> None:
    made = run.json("namespace set tenant --leases-max 1 --grace-min 1h --brake-share 0.25 --no-brake --yes")
    shown = run.json("namespace get tenant")
    assert shown["revision"] == made["revision"]
    assert shown["limits"]["leases_max"] == 1
    assert shown["cleanup"]["grace_ms_min"] == 3_600_000
    assert (shown["brake"]["enabled"], shown["brake"]["share"]) == (False, 0.25)
    run("lease acquire one -n tenant --ttl 30s")
    _, told = run("lease acquire two -n tenant --ttl 30s", exits=Exit.REFUSED)
    assert "QUOTA_EXCEEDED" in told
    run(f"namespace set tenant --brake --revision {made['revision'] + 7}", exits=Exit.PRECONDITION)
    _, told = run("namespace set tenant --brake-share 3", exits=Exit.REFUSED)
    assert told.startswith("Error: --brake-share: is 3.0")


def test_a_watch_goes_on_where_another_ended(run: Line) -> None:
    for number in range(3):
        run(f"lease acquire watched/{number} --ttl 5m")
    first, second = (json.loads(line) for line in run("watch --from 1 --limit 2 -o json")[0].splitlines())
    assert first["index"] < second["index"]
    out, _ = run(f"watch --from {second['index'] + 1} --limit 1")
    assert int(out.split()[0]) > second["index"]
    (only,) = run("watch --from 1 --resource watched/2 --limit 1 --type lease_acquired -o json")[0].splitlines()
    assert json.loads(only)["resource"] == "watched/2"
    _, told = run("watch --type nonsense", exits=Exit.REFUSED)
    assert "--type: 'nonsense' is no type of event; known are lease_acquired" in told


def test_a_cluster_with_a_node_that_does_not_answer_is_degraded(cluster: LocalCluster, run: Line) -> None:
    leader = json.loads(run.healthy("-o", "json"))["leader"]
    stopped = next(node for node in cluster.nodes if node != leader)
    cluster.signal(stopped, signal.SIGSTOP)
    try:
        until(lambda: CliRunner(env=environment(cluster)).invoke(app, ["status"]).exit_code == 1)
        _, told = run("status", exits=1)
        assert "Warning: " in told
    finally:
        cluster.signal(stopped, signal.SIGCONT)
    until(lambda: CliRunner(env=environment(cluster)).invoke(app, ["status"]).exit_code == 0)
