"""Which parameters name a place, and which are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garbagetruck.cluster.cleanup.handler import InvalidParametersError
from garbagetruck.cluster.cleanup.handlers.file.places import RESERVED_PREFIX, Root, locate

UPLOADS = Root("uploads", "/srv/uploads", "/mnt/disk1/uploads")
CACHE = Root("cache", "/srv/cache", "/srv/cache")
ROOTS = (UPLOADS, CACHE)


@pytest.mark.parametrize(
    ("parameters", "target"),
    [
        ({"path": "42"}, "file:/mnt/disk1/uploads/42"),
        ({"path": "a/b/c.jpg"}, "file:/mnt/disk1/uploads/a/b/c.jpg"),
        ({"path": "./a//b/./c/"}, "file:/mnt/disk1/uploads/a/b/c"),
        ({"path": "x", "root": "cache"}, "file:/srv/cache/x"),
        ({"path": "/srv/cache/x"}, "file:/srv/cache/x"),
        ({"path": "//srv//cache/x"}, "file:/srv/cache/x"),
        ({"path": "/srv/uploads/x"}, "file:/mnt/disk1/uploads/x"),
        ({"path": "/mnt/disk1/uploads/x"}, "file:/mnt/disk1/uploads/x"),
        ({"path": "/srv/uploads/x", "root": "uploads"}, "file:/mnt/disk1/uploads/x"),
        ({"path": "ünï/…/😀"}, "file:/mnt/disk1/uploads/ünï/…/😀"),
        ({"path": "..."}, "file:/mnt/disk1/uploads/..."),
        ({"path": "a b\\c:d"}, "file:/mnt/disk1/uploads/a b\\c:d"),
    ],
)
def test_a_place_has_one_canonical_target(parameters: dict[str, str], target: str) -> None:
    assert locate(parameters, ROOTS).target == target


@pytest.mark.parametrize(
    ("parameters", "at_fault"),
    [
        ({}, "path"),
        ({"path": ""}, "path"),
        ({"path": "."}, "path"),
        ({"path": "/"}, "path"),
        ({"path": "//"}, "path"),
        ({"path": ".."}, "path"),
        ({"path": "../x"}, "path"),
        ({"path": "a/../../x"}, "path"),
        ({"path": "a/.."}, "path"),
        ({"path": "a\0b"}, "path"),
        ({"path": "a\nb"}, "path"),
        ({"path": "a\x7fb"}, "path"),
        ({"path": "a\ud800b"}, "path"),
        ({"path": "/etc/passwd"}, "path"),
        ({"path": "/srv/uploads"}, "path"),
        ({"path": "/srv/uploadsx/y"}, "path"),
        ({"path": "/srv/uploads/../cache/x"}, "path"),
        ({"path": "/srv/./uploads/x"}, "path"),
        ({"path": "/srv/cache/x", "root": "uploads"}, "path"),
        ({"path": "x", "root": "elsewhere"}, "root"),
        ({"path": "x", "root": ""}, "root"),
        ({"path": "x", "mode": "force"}, "mode"),
        ({"path": "a" * 256}, "path"),
        ({"path": "ü" * 128}, "path"),
        ({"path": "/".join(["abcdefgh"] * 500)}, "path"),
        ({"path": "/".join(["a"] * 130)}, "path"),
        ({"path": f"a/{RESERVED_PREFIX}fence"}, "path"),
    ],
)
def test_what_names_no_place_below_a_root_is_refused_with_a_remedy(parameters: dict[str, str], at_fault: str) -> None:
    with pytest.raises(InvalidParametersError) as caught:
        locate(parameters, ROOTS)
    assert caught.value.parameter == at_fault
    assert caught.value.problem
    assert caught.value.remedy


@given(st.text(alphabet=st.sampled_from("ab./\0\n.é"), max_size=40))
def test_i1_no_text_leads_out_of_its_root(path: str) -> None:
    try:
        place = locate({"path": path}, ROOTS)
    except InvalidParametersError:
        return
    assert place.target.startswith("file:/mnt/disk1/uploads/")
    assert not {"", ".", ".."} & set(place.segments)
    assert all("/" not in segment and "\0" not in segment for segment in place.segments)
    assert locate({"path": "/".join(place.segments)}, ROOTS) == place, "canonical is canonical"
    assert locate({"path": place.target.removeprefix("file:")}, ROOTS) == place, "and an address of itself"
