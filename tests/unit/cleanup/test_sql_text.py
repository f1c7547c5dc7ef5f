"""The operator's SQL text: where its parameters are, and what is not one plain statement."""

import pytest

from garbagetruck.cluster.cleanup.handlers.sql.placeholders import SQL_BYTES_MAX, SqlText, SqlTextError, read_sql


def test_each_name_gets_a_number_and_keeps_it() -> None:
    read = read_sql("DELETE FROM t WHERE id = :id AND (owner = :owner OR old = :id)")
    assert read == SqlText("DELETE FROM t WHERE id = $1 AND (owner = $2 OR old = $1)", ("id", "owner"), "DELETE")


@pytest.mark.parametrize(
    "written",
    [
        "SELECT ':id'",
        "SELECT 'it''s :id'",
        r"SELECT E'it\'s :id'",
        r"SELECT e'it''s \' :id'",
        r"SELECT 'C:\:id'",
        'SELECT ":id" FROM t',
        'SELECT "a"":id" FROM t',
        "SELECT $$ :id ; $$",
        "SELECT $body$ $$ :id $other$ $body$",
        "SELECT 1 -- :id; and so on",
        "SELECT /* :id /* nested ; */ :id */ 1",
        "SELECT '1'::id",
        "SELECT f(a := 1)",
        "SELECT a$1 FROM t",
        "-- a note\nSELECT 1",
    ],
)
def test_what_is_quoted_or_a_comment_or_a_cast_is_no_placeholder(written: str) -> None:
    read = read_sql(written)
    assert read == SqlText(written, (), "SELECT")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("SELECT :a::text", "SELECT $1::text"),
        ("SELECT 'x':a", "SELECT 'x'$1"),
        ("SELECT $$x$$ || :a", "SELECT $$x$$ || $1"),
        ("SELECT /* x */:a", "SELECT /* x */$1"),
        ("SELECT :a--:b", "SELECT $1--:b"),
        (r"SELECT '\' || :a", r"SELECT '\' || $1"),
    ],
)
def test_what_follows_a_quotation_is_read_again(written: str, expected: str) -> None:
    read = read_sql(written)
    assert (read.text, read.names) == (expected, ("a",))


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("DELETE FROM a; DELETE FROM b", "more than one statement"),
        ("DELETE FROM a; COMMIT", "more than one statement"),
        ("DELETE FROM a; -- then\n DELETE FROM b", "more than one statement"),
        ("DELETE FROM a WHERE id = $1", r"contains \$1"),
        ("SELECT 'open", "does not end"),
        ('SELECT "open', "does not end"),
        ("SELECT $x$ open $y$", "does not end"),
        ("SELECT /* open /* */", "does not end"),
        ("SELECT 1 \0", "NUL"),
        ("", "holds no statement"),
        (" ; ", "holds no statement"),
        ("-- nothing", "holds no statement"),
        ("SELECT '" + "x" * SQL_BYTES_MAX + "'", "too long"),
    ],
)
def test_what_is_not_one_whole_statement_is_refused(written: str, problem: str) -> None:
    with pytest.raises(SqlTextError, match=problem) as caught:
        read_sql(written)
    assert caught.value.remedy


def test_a_semicolon_at_the_end_and_one_in_quotes_are_harmless() -> None:
    assert read_sql("DELETE FROM a WHERE b = ';' ; -- end").verb == "DELETE"


@pytest.mark.parametrize(("written", "verb"), [("(SELECT 1)", "SELECT"), ("/* x */ with a as (select 1)", "WITH")])
def test_the_first_word_is_told(written: str, verb: str) -> None:
    assert read_sql(written).verb == verb
