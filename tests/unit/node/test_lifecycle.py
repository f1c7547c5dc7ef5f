"""How a process that cannot serve ends: with one line, and an exit code that says what kind of end it is."""

from pathlib import Path

import pytest

from garbagetruck.cluster.node import lifecycle
from garbagetruck.cluster.node.config.loading import load_settings
from garbagetruck.cluster.node.local.layout import UpOptions, plan, prepare


def test_settings_that_a_part_does_not_take_end_the_node_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As when another member's record does not go with them: no traceback tells an operator what to do."""

    def compose(*_: object) -> None:
        raise ValueError("raft members share an address")

    options = UpOptions(data_dir=tmp_path, nodes=1, base_port=7_100)
    cluster = plan(options, new_cluster_id="c1")
    prepare(cluster, options)
    loaded = load_settings(cluster.nodes[0].config, {})
    monkeypatch.setattr(lifecycle, "compose", compose)
    assert lifecycle.serve(loaded, bootstrap=True, environ={}) == lifecycle.EXIT_REFUSED
    told = capsys.readouterr()
    (last,) = (told.out + told.err).strip().splitlines()
    assert "Traceback" not in last
    assert "raft members share an address" in last
