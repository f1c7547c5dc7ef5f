"""The operator's SQL text: which parameters it names, and what it looks like to the server.

Duty: put `$1`, `$2`, … in the place of `:name`, and refuse what is not one plain statement.
Invariants: nothing inside a string, a quoted name or a comment is taken for a placeholder; no value ever becomes part of the
text. The lexical rules are those of PostgreSQL 13 to 18, chapter 4.1 of its manual, with `standard_conforming_strings` on.
Must not know: which parameters there are, and what they hold.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

SQL_BYTES_MAX = 16_384

_TOKEN = re.compile(
    r"""
      (?P<escaped> (?<![\w$]) [eE] ' (?: [^'\\] | \\. | '' )* ' )
    | (?P<quoted> ' [^']* ' | " [^"]* " )
    | (?P<dollars> (?<![\w$]) \$ (?P<tag> (?: [^\W\d]\w* )? ) \$ .*? \$ (?P=tag) \$ )
    | (?P<line> -- [^\n]* )
    | (?P<block> /\* )
    | (?P<plain> :: | := )
    | : (?P<name> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<numbered> (?<![\w$]) \$ [0-9]+ )
    | (?P<end> ; )
    | (?P<open> ['"] | (?<![\w$]) \$ (?: [^\W\d]\w* )? \$ )
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_FIRST_WORD = re.compile(r"[\s(]*([A-Za-z]+)")


class SqlTextError(ValueError):
    """The text is not one statement with named placeholders. `problem` and `remedy` are for the operator."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}; {remedy}")
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class SqlText:
    """One statement as the server gets it."""

    text: str
    names: tuple[str, ...]
    """What `$1`, `$2`, … stand for; each name once."""
    verb: str
    """Its first word, in capitals; "" when there is none."""


def read_sql(written: str) -> SqlText:
    """Read what the operator wrote. Pure. Raises `SqlTextError`."""
    if len(written.encode("utf-8", "surrogatepass")) > SQL_BYTES_MAX:
        raise SqlTextError("is too long", f"use at most {SQL_BYTES_MAX} bytes")
    if "\0" in written:
        raise SqlTextError("contains a NUL character", "use text")
    names: dict[str, int] = {}
    text: list[str] = []
    code: list[str] = []
    """The same without comments, strings and names in quotes."""
    for part, is_code in _parts(written):
        if isinstance(part, _Placeholder):
            text.append(f"${names.setdefault(part.name, len(names) + 1)}")
            code.append(" ")
        else:
            text.append(part)
            code.append(part if is_code else " ")
    whole = "".join(code)
    statement, semicolon, rest = whole.partition(";")
    if semicolon and rest.strip(" \t\r\n;"):
        raise SqlTextError("holds more than one statement", "write each as a step of its own")
    if not statement.strip():
        raise SqlTextError("holds no statement", "write one")
    first = _FIRST_WORD.match(statement)
    return SqlText("".join(text), tuple(names), first.group(1).upper() if first else "")


@dataclass(frozen=True, slots=True)
class _Placeholder:
    name: str


def _parts(written: str) -> Iterator[tuple[str | _Placeholder, bool]]:
    """The text in pieces, each with whether it is code: neither a comment nor quoted."""
    at = 0
    while (token := _TOKEN.search(written, at)) is not None:
        yield written[at : token.start()], True
        at = token.end()
        match token.lastgroup:
            case "name":
                yield _Placeholder(token["name"]), False
            case "end" | "plain":
                yield token.group(), True
            case "block":
                at = _end_of_block(written, token.start())
                yield written[token.start() : at], False
            case "numbered":
                raise SqlTextError(f"contains {token.group()}", "name its parameters, as in :id")
            case "open":
                raise SqlTextError(f"contains a quotation by {token.group()} that does not end", "end it")
            case _:
                yield token.group(), False
    yield written[at:], True


def _end_of_block(written: str, start: int) -> int:
    """Behind a comment that begins at `start`; such comments nest."""
    depth = 0
    for edge in _BLOCK_EDGE.finditer(written, start):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    raise SqlTextError("contains a comment that does not end", "end it")
