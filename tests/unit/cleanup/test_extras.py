"""What is an extra is not needed by nodes that do without its handler."""

import subprocess
import sys


def test_a_registry_does_without_what_the_handlers_of_stores_need() -> None:
    script = (
        "import sys; sys.modules.update(dict.fromkeys(['asyncpg', 'aiobotocore', 'botocore']))\n"
        "from garbagetruck.cluster.cleanup.registry import build_registry\n"
        "from garbagetruck.cluster.cleanup.running import run_directly\n"
        "from garbagetruck.cluster.cleanup.settings import HandlerSettings\n"
        "settings = HandlerSettings(name='file', kind='file', options={'roots': ['/srv/files']})\n"
        "build_registry([settings], run_blocking=run_directly, environ={})\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
