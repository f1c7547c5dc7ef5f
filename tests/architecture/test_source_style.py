"""The habits of this code that a machine can check, beyond what the linter knows."""

import ast
from pathlib import Path

from tests.architecture.checkout import ROOT, handwritten_modules, syntax_of

FILE_LINES_MAX = 350
FUNCTION_LINES_MAX = 60

MODULE_NAMES_THAT_SAY_NOTHING = frozenset({"common", "helper", "helpers", "misc", "util", "utils"})
CLASS_ENDINGS_THAT_SAY_NOTHING = ("Manager", "Helper", "Data", "Info", "Utils")


def line_count(path: Path) -> int:
    return len((ROOT / path).read_text(encoding="utf-8").splitlines())


def test_no_file_outgrows_its_reader() -> None:
    lengths = sorted(((line_count(path), str(path)) for path in handwritten_modules()), reverse=True)
    print("longest files:", *(f"{lines:5d} {path}" for lines, path in lengths[:10]), sep="\n")
    too_long = [f"{path}: {lines} lines" for lines, path in lengths if lines > FILE_LINES_MAX]
    assert too_long == [], "a file that outgrows its limit asks for a new noun"


def test_no_function_outgrows_its_reader() -> None:
    too_long = []
    for path in handwritten_modules():
        for node in ast.walk(syntax_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    too_long.append(f"{path}:{node.lineno} {node.name}: {lines} lines")
    assert too_long == []


def test_a_module_opens_with_its_duty() -> None:
    silent = [
        str(path) for path in handwritten_modules() if line_count(path) and not ast.get_docstring(syntax_of(path))
    ]
    assert silent == [], "an empty __init__.py may be silent, nothing else"


def test_no_module_has_a_name_that_says_nothing() -> None:
    vague = [str(path) for path in handwritten_modules() if path.stem in MODULE_NAMES_THAT_SAY_NOTHING]
    assert vague == []


def test_no_class_has_a_name_that_says_nothing() -> None:
    vague = [
        f"{path}:{node.lineno} {node.name}"
        for path in handwritten_modules()
        for node in ast.walk(syntax_of(path))
        if isinstance(node, ast.ClassDef) and node.name.endswith(CLASS_ENDINGS_THAT_SAY_NOTHING)
    ]
    assert vague == []
