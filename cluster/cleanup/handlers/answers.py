"""What a service says in words, fit to be stored and shown.

Duty: cut it short, and make it printable. Must not know: who said it.
"""

ANSWER_CHARACTERS_SHOWN = 200


def shown(answer: bytes | str) -> str:
    """`: ` and the beginning of what was said on one line; empty for nothing."""
    given = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    text = "".join(each if each.isprintable() else " " for each in given[: 4 * ANSWER_CHARACTERS_SHOWN])
    text = " ".join(text.split())[:ANSWER_CHARACTERS_SHOWN]
    return f": {text}" if text else ""
