"""The machine's tests share modules that assert; pytest shall explain those failures as well."""

import pytest

for _module in ("chorus", "integrity", "promises", "scribe"):
    pytest.register_assert_rewrite(f"tests.unit.machine.{_module}")
