"""Who belongs to the cluster, told over again: one change at a time, and nobody leaves before Raft is without it."""

from msgspec.structs import replace

from garbagetruck.cluster.machine.model import Member, MemberRole
from garbagetruck.cluster.machine.operations import AddMember, RegisterMember, RemoveMember, SettleMember
from garbagetruck.cluster.machine.outcomes import Acknowledged, MemberChanged, Outcome, Reason
from tests.unit.machine.oracle.books import Books, no


def register(books: Books, asked: RegisterMember) -> Outcome:
    known = books.members.get(asked.member.id)
    if known is None or known.disk_id not in ("", asked.member.disk_id):
        return no(Reason.MEMBER_UNKNOWN)
    part = _of_another(books, asked.member)
    if part and books.level() > 1:
        return no(Reason.MEMBER_EXISTS, f"member.{part}")
    books.members[known.id] = replace(asked.member, role=known.role, peer=asked.member.peer or known.peer)
    return Acknowledged()


def add(books: Books, asked: AddMember) -> Outcome:
    wanted = asked.member
    known = books.members.get(wanted.id)
    if known is not None and known.role is MemberRole.LEAVING and known.disk_id == wanted.disk_id:
        part = _of_another(books, wanted)
        if part:
            return no(Reason.MEMBER_EXISTS, f"member.{part}")
        back = replace(known, role=MemberRole.LEARNER, **_addresses(wanted))
        books.members[known.id] = back
        return MemberChanged(back)
    if _on_the_way(books):
        return no(Reason.MEMBERSHIP_CHANGE_PENDING)
    if wanted.id in books.members:
        return no(Reason.MEMBER_EXISTS, "member.id")
    part = _of_another(books, wanted)
    if part:
        return no(Reason.MEMBER_EXISTS, f"member.{part}")
    if len(books.members) >= books.bounds.members_max:
        return no(Reason.QUOTA_EXCEEDED)
    learner = replace(wanted, version="", feature_level=0, role=MemberRole.LEARNER)
    books.members[wanted.id] = learner
    return MemberChanged(learner)


def remove(books: Books, asked: RemoveMember) -> Outcome:
    member = books.members.get(asked.member_id)
    if member is None:
        return no(Reason.MEMBER_UNKNOWN, "member_id")
    if _on_the_way(books) not in ([], [member.id]) or member.role is MemberRole.LEAVING:
        return no(Reason.MEMBERSHIP_CHANGE_PENDING)
    if member.role is MemberRole.VOTER and len(books.members) == 1:
        return no(Reason.LAST_VOTER, "member_id")
    if member.role is MemberRole.LEARNER and not member.disk_id:
        del books.members[member.id]
    else:
        books.members[member.id] = replace(member, role=MemberRole.LEAVING)
    return MemberChanged(member)


def settle(books: Books, asked: SettleMember) -> Outcome:
    member = books.members.get(asked.member_id)
    role = None if member is None else member.role
    match asked.settled, role:
        case "gone", MemberRole.LEAVING:
            del books.members[asked.member_id]
        case "voter", MemberRole.LEARNER:
            assert member is not None
            books.members[asked.member_id] = replace(member, role=MemberRole.VOTER)
        case ("gone", None) | ("voter", MemberRole.VOTER):
            pass
        case _:
            return no(Reason.MEMBER_UNKNOWN)
    return Acknowledged()


def _on_the_way(books: Books) -> list[str]:
    return [each.id for each in books.members.values() if each.role is not MemberRole.VOTER]


def _of_another(books: Books, member: Member) -> str:
    """The first part of a member's address that is another's; empty when none is."""
    others = [each for each in books.members.values() if each.id != member.id]
    taken = {_place(address) for each in others for address in _addresses(each).values() if address}
    return next((part for part, address in _addresses(member).items() if _place(address) in taken), "")


def _addresses(member: Member) -> dict[str, str]:
    return {"api": member.api, "http": member.http, "raft": member.raft, "peer": member.peer}


def _place(address: str) -> str:
    return address.replace("localhost", "127.0.0.1")
