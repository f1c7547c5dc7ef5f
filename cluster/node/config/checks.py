"""How settings must fit together.

Duty: the relations between settings that are each within bounds.
Invariants: pure; every problem names one key to change, what it collides with, and a value that would do.
Must not know: where the values came from.
"""

from collections.abc import Iterator

from garbagetruck.cluster.machine.machine import SKIP_LEVEL
from garbagetruck.cluster.node.config.problems import Problem
from garbagetruck.cluster.node.config.raft_section import RaftSection
from garbagetruck.cluster.node.config.settings import NodeSettings
from garbagetruck.cluster.node.config.storing import check_storage
from garbagetruck.cluster.raft.settings import PROPOSAL_BYTES_MAX, RaftSettings
from garbagetruck.cluster.raft.tls import TlsFiles
from garbagetruck.durations import format_duration


def check_relations(settings: NodeSettings) -> Iterator[Problem]:
    """Yield everything that does not fit together."""
    ids = [member.id for member in settings.cluster.members]
    if settings.node.id not in ids:
        yield Problem(
            "node.id", f"{settings.node.id} is not among cluster.members", f"use one of {', '.join(ids)}, or add it"
        )
        return
    yield from _check_loopback(settings)
    yield from _check_raft_tls(settings)
    yield from _check_raft(settings)
    yield from _check_clock(settings)
    yield from _check_listening(settings)
    yield from check_storage(settings.storage)
    if settings.node.skip_entries and settings.node.feature_level < SKIP_LEVEL:
        yield Problem(
            "node.skip_entries",
            f"a state in which an entry was skipped needs feature level {SKIP_LEVEL}",
            f"set node.feature_level to {SKIP_LEVEL} or more, on every node",
        )
    if settings.queue.batch_operations_max > settings.queue.operations_max:
        yield Problem(
            "queue.batch_operations_max",
            f"{settings.queue.batch_operations_max} is more than may wait",
            f"use at most queue.operations_max, {settings.queue.operations_max}",
        )
    if settings.api.timeout_ms > settings.api.timeout_ms_max:
        yield Problem(
            "api.timeout",
            f"{format_duration(settings.api.timeout_ms)} is longer than api.timeout_max",
            f"use at most {format_duration(settings.api.timeout_ms_max)}",
        )


def warn_of(settings: NodeSettings) -> Iterator[str]:
    """Yield what works but is probably not meant."""
    count = len(settings.cluster.members)
    if count % 2 == 0:
        yield f"{count} members survive no more failures than {count - 1} would, and are slower; use an odd number"
    if not settings.api_listen.is_loopback:
        yield (
            f"the API listens on {settings.api_listen}, which can be reached from outside, and in this version it neither"
            " encrypts nor asks who calls; let only those reach it who may do everything"
        )


def _check_loopback(settings: NodeSettings) -> Iterator[Problem]:
    """What nodes say to each other is the cluster's whole state: in the clear it stays on this machine."""
    if settings.raft.tls_certificate is not None or settings.raft.insecure_plaintext:
        return
    remedy = (
        "its traffic is not encrypted: use a loopback address, as in 127.0.0.1; or give raft.tls_certificate, raft.tls_key"
        " and raft.tls_authority (`garbagetruck tls init` makes them); or set raft.insecure_plaintext = true where nobody"
        " else can reach it"
    )
    for key, given in (("node.raft", settings.node.raft), ("node.peer", settings.node.peer)):
        if given is not None and not given.is_loopback:
            yield Problem(key, f"{given} can be reached from outside", remedy)
    for key, routes in (
        ("node.raft_routes", settings.node.raft_routes),
        ("node.peer_routes", settings.node.peer_routes),
    ):
        for member_id, address in routes.items():
            if not address.is_loopback:
                yield Problem(key, f"{address}, of {member_id}, is not on this machine", remedy)
    for position, member in enumerate(settings.cluster.members):
        for part, address in (("raft", member.raft), ("peer", member.peer)):
            if not address.is_loopback:
                yield Problem(f"cluster.members[{position}].{part}", f"{address} is not on this machine", remedy)


def _check_raft_tls(settings: NodeSettings) -> Iterator[Problem]:
    """All of it or none."""
    raft = settings.raft
    files = {
        "raft.tls_certificate": raft.tls_certificate,
        "raft.tls_key": raft.tls_key,
        "raft.tls_authority": raft.tls_authority,
    }
    given = {key: path for key, path in files.items() if path is not None}
    for key in files.keys() - given.keys() if given else ():
        yield Problem(key, f"it is missing, while {', '.join(given)} is set", "give all three, or none")
    if given and raft.insecure_plaintext:
        yield Problem("raft.insecure_plaintext", "it is set, and so is TLS", "remove one of them")


def _check_raft(settings: NodeSettings) -> Iterator[Problem]:
    """Say it in the configuration's words; the log's own check, which may know more, has the last one."""
    raft = settings.raft
    beats_ms, shortest_ms, longest_ms = raft.heartbeat_ms, raft.election_timeout_ms_min, raft.election_timeout_ms_max
    found = [
        _too_short("raft.election_timeout_min", shortest_ms, 4 * beats_ms, "four times raft.heartbeat"),
        _too_short(
            "raft.election_timeout_max", longest_ms, shortest_ms * 3 // 2, "1.5 times raft.election_timeout_min"
        ),
        _too_short("raft.leader_fallback", raft.leader_fallback_ms, 3 * beats_ms, "three times raft.heartbeat"),
        _too_short("raft.connection_timeout", raft.connection_timeout_ms, longest_ms, "raft.election_timeout_max"),
    ]
    if raft.leader_fallback_ms > longest_ms:
        found.append(
            Problem(
                "raft.leader_fallback",
                f"{format_duration(raft.leader_fallback_ms)} is longer than raft.election_timeout_max, so that a leader"
                " cut off would go on while another is elected",
                f"use at most {format_duration(longest_ms)}",
            )
        )
    problems = [each for each in found if each is not None]
    yield from problems
    if not problems:
        try:
            raft_settings(settings)
        except ValueError as error:
            yield Problem("raft", str(error), "change the key that is named")


def _too_short(key: str, value_ms: int, least_ms: int, reason: str) -> Problem | None:
    if value_ms >= least_ms:
        return None
    return Problem(
        key, f"{format_duration(value_ms)} is less than {reason}", f"use at least {format_duration(least_ms)}"
    )


def raft_settings(settings: NodeSettings) -> RaftSettings:
    """What the log is built with. Raises `ValueError` where its parts do not fit together."""
    raft = settings.raft
    return RaftSettings(
        heartbeat_ms=raft.heartbeat_ms,
        election_timeout_ms_min=raft.election_timeout_ms_min,
        election_timeout_ms_max=raft.election_timeout_ms_max,
        leader_fallback_ms=raft.leader_fallback_ms,
        connection_timeout_ms=raft.connection_timeout_ms,
        proposal_bytes_max=PROPOSAL_BYTES_MAX,
        segment_bytes=raft.segment_bytes,
        free_bytes_alarm=raft.free_bytes_alarm,
        snapshot_entries=raft.snapshot_entries,
        snapshot_log_bytes=raft.snapshot_log_bytes,
        snapshot_interval_ms=raft.snapshot_interval_ms,
        tls=_tls_files(raft),
        entry_format=settings.node.feature_level,
        insecure_plaintext=raft.insecure_plaintext,
    )


def _tls_files(raft: RaftSection) -> TlsFiles | None:
    if raft.tls_certificate is None or raft.tls_key is None or raft.tls_authority is None:
        return None
    return TlsFiles(raft.tls_certificate, raft.tls_key, raft.tls_authority)


def _check_clock(settings: NodeSettings) -> Iterator[Problem]:
    clock = settings.clock
    if clock.probe_interval_ms * 2 > clock.step_ms:
        yield Problem(
            "clock.probe_interval",
            f"{format_duration(clock.probe_interval_ms)} is more than half of clock.step,"
            f" {format_duration(clock.step_ms)}, so that cluster time would fall behind in a healthy cluster",
            f"use at most {format_duration(clock.step_ms // 2)}",
        )


def _check_listening(settings: NodeSettings) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for key, address in (
        ("node.api", settings.api_listen),
        ("node.http", settings.http_listen),
        ("node.raft", settings.raft_listen),
        ("node.peer", settings.peer_listen),
    ):
        other = seen.setdefault(str(address), key)
        if other != key:
            yield Problem(key, f"{address} is {other} already", "give each listener its own port")
