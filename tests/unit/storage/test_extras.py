"""What is an extra is not needed where it is not used."""

import subprocess
import sys


def test_other_backends_do_without_postgresqls_driver() -> None:
    script = (
        "import sys; sys.modules['asyncpg'] = None\n"
        "import garbagetruck.storage.memory, garbagetruck.storage.directory.storage\n"
        "import garbagetruck.storage.embedded.server, garbagetruck.storage.silence\n"
        "import garbagetruck.storage.postgres.settings\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
