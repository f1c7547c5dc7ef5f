"""`make disaster`: every node and every disk lost under load, the cluster restored from PostgreSQL, and its clients go on (I2, I9)."""

import json
import subprocess
import sys

import pytest

from tests.cluster_fixtures.ports import free_base_port


@pytest.mark.slow
def test_i2_i9_a_cluster_without_any_disk_is_restored_to_a_second_and_deletes_nothing() -> None:
    command = [sys.executable, "-m", "examples.disaster", "--seconds", "4", "--rate", "100"]
    command += ["--base-port", str(free_base_port(3))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told) == {
        "acknowledged",
        "restored",
        "lost_after_ms",
        "cleaned_by_restore",
        "sessions",
        "session_leases",
        "carried_on",
        "registered_anew",
    }
    assert told["acknowledged"] > 50
    assert told["cleaned_by_restore"] == 0
    assert told["carried_on"] == told["session_leases"] > 5
