"""The example services under docs/, loaded as what they are: files that stand for themselves.

Duty: import one by its path. It must not know: what it does.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "examples" / "services"


@contextmanager
def example(name: str) -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
        yield module
    finally:
        del sys.modules[name]
