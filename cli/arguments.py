"""Reading what people write on the command line into the client's words."""

import json
import os
import pwd
import socket

import typer

from garbagetruck.client.records import Cleanup


def read_cleanup(text: str | None) -> Cleanup | None:
    """`HANDLER:key=value` carries one parameter, whose value runs to the end; more of them need JSON."""
    if text is None:
        return None
    if text.lstrip().startswith("{"):
        return _cleanup_from_json(text)
    handler, colon, parameter = text.partition(":")
    key, equals, value = parameter.partition("=")
    if not (handler and colon and key and equals):
        raise typer.BadParameter(
            f'--cleanup {text!r}: write HANDLER:key=value, as in file:path=uploads/42, or JSON, as in {{"handler":"file",'
            '"path":"uploads/42"}'
        )
    return Cleanup(handler, **{key: value})


def _cleanup_from_json(text: str) -> Cleanup:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise typer.BadParameter(f"--cleanup is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise typer.BadParameter(
            f'--cleanup as JSON is {json.dumps(fields)}; write one object, as in {{"handler":"file","path":"uploads/42"}}'
        )
    for key, value in fields.items():
        if not isinstance(value, str):
            shown = json.dumps(value)
            raise typer.BadParameter(f"--cleanup: {key} is {shown}; write it as a string: {json.dumps(shown)}")
    handler = fields.pop("handler", "")
    if not handler:
        raise typer.BadParameter('--cleanup as JSON needs a "handler"')
    return Cleanup(handler, **fields)


def default_holder() -> str:
    """Who holds what a person acquires: `user@host`, the same from one command to the next."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
