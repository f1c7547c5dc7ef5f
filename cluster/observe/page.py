"""The status page of a node: what it knows, in plain HTML without scripts."""

from html import escape

from garbagetruck.cluster.machine.machine import Machine
from garbagetruck.cluster.observe.facts import NodeFacts

NAMESPACES_SHOWN_MAX = 50

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 50rem; padding: 0 1rem; color-scheme: light dark }
table { border-collapse: collapse; margin: 0 0 1.5rem } th, td { text-align: left; padding: .2rem 1.2rem .2rem 0 }
td.number { text-align: right; font-variant-numeric: tabular-nums } .bad { color: #c0392b; font-weight: 600 }
"""


def status_page(facts: NodeFacts, machine: Machine) -> str:
    """The whole page. Everything that comes from elsewhere is escaped."""
    summary = machine.summary()
    overdue_ms = max(0, facts.clock_ms - summary.oldest_due_ms) if summary.oldest_due_ms is not None else 0
    node = (
        ("cluster", facts.cluster_id),
        ("node", f"{facts.node_id}, {facts.role}, version {facts.version}"),
        ("leader", facts.leader_id or "none is known"),
        ("term", f"{facts.term}"),
        ("log", f"applied {facts.applied_index:,} of {facts.commit_index:,} committed"),
        ("cluster time", f"{facts.clock_ms / 1_000:,.1f} s"),
    )
    counts = (
        ("active leases", summary.leases),
        ("sessions", summary.sessions),
        ("resources", summary.resources),
        ("orphaned, in their grace", summary.orphaned),
        ("cleanups due", summary.due),
        ("cleanups claimed", summary.claimed),
        ("dead letters", summary.dead_letter),
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="5">
<title>GarbageTruck: {escape(facts.node_id)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>GarbageTruck</h1>
{_warnings(facts, machine)}
<table>{"".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in node)}</table>
<table>{"".join(_number_row(name, number) for name, number in counts)}
<tr><th>oldest overdue cleanup</th><td class="number">{overdue_ms / 1_000:,.1f} s</td></tr></table>
{_namespaces(machine)}
<p><a href="/metrics">metrics</a> · <a href="/readyz">readiness</a> · <a href="/livez">liveness</a></p>
</body>
</html>
"""


def _warnings(facts: NodeFacts, machine: Machine) -> str:
    sentences = list(facts.not_ready)
    if machine.cleanups_paused:
        sentences.append(
            f"cleanups of the whole cluster are paused: {machine.cleanups_pause_reason or 'no reason given'}"
        )
    elif machine.quarantine_left_ms is not None:
        sentences.append(f"the cluster was restored: nothing is cleaned for {machine.quarantine_left_ms} ms more")
    sentences.extend(
        f"{number} cleanups wait for the handler {handler}, which this node does not have"
        for handler, number in sorted(facts.unknown_handlers.items())
    )
    summary = machine.summary()
    fleet = machine.fleet_brake
    if fleet is not None and fleet.engaged:
        sentences.append(f"the brake of the whole fleet is engaged: {fleet.reason}")
    sentences.extend(f"the breaker of handler {each.handler} is open: {each.reason}" for each in machine.breakers())
    sentences.extend(f"the brake of namespace {name} is engaged" for name in summary.braked)
    if not sentences:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<ul class="bad">{items}</ul>'


def _namespaces(machine: Machine) -> str:
    namespaces = machine.namespaces()
    rows = []
    for namespace in namespaces[:NAMESPACES_SHOWN_MAX]:
        usage = machine.usage(namespace.name)
        numbers = (usage.leases, usage.holders, usage.resources, usage.due + usage.claimed, usage.dead_letters)
        cells = "".join(f'<td class="number">{number:,}</td>' for number in numbers)
        rows.append(f"<tr><td>{escape(namespace.name)}</td>{cells}</tr>")
    more = len(namespaces) - len(rows)
    rest = f"<p>and {more} more</p>" if more else ""
    heads = "".join(
        f"<th>{head}</th>" for head in ("namespace", "leases", "holders", "resources", "cleanups", "dead letters")
    )
    return f"<table><tr>{heads}</tr>{''.join(rows)}</table>{rest}"


def _number_row(name: str, number: int) -> str:
    return f'<tr><th>{escape(name)}</th><td class="number">{number:,}</td></tr>'
