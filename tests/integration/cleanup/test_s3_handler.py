"""The `s3` handler against a real S3 server: what it removes, what it leaves, and what it makes of each failure."""

import asyncio
from collections.abc import Iterator, Mapping

import pytest
from aiohttp import web

from garbagetruck.cluster.cleanup.handler import ABSENT, CleanupResult, ObservationError, Verdict
from garbagetruck.cluster.cleanup.handlers.s3 import S3Handler
from tests.integration.cleanup.calls import call_of
from tests.integration.cleanup.crooked_store import Answer, crooked_store
from tests.integration.cleanup.stores import CREDENTIALS, Bucket

HERE = {"key": "tmp/42"}
BELOW = {"prefix": "tmp/job/"}


async def attempt(handler: S3Handler, parameters: Mapping[str, str] = HERE, *, token: int = 100) -> CleanupResult:
    """Observe and clean, as one attempt does."""
    identity = await handler.observe(parameters)
    return await handler.clean(call_of(handler, parameters, token=token, identity=identity))


# -- objects ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fence", ["etag", "none"])
async def test_an_object_is_removed_and_its_neighbours_are_not(plain: Bucket, fence: str) -> None:
    for key in ("tmp/42", "tmp/421", "tmp/43"):
        await plain.write(key)
    async with plain.handler(fence) as handler:
        assert await attempt(handler) == CleanupResult.done()
        assert await plain.keys() == {"tmp/421", "tmp/43"}
        assert await handler.observe(HERE) == ABSENT
        assert await attempt(handler) == CleanupResult.already_gone()


async def test_all_versions_of_an_object_go_and_no_older_one_comes_to_light(versioned: Bucket) -> None:
    for content in (b"one", b"two", b"three"):
        await versioned.write("tmp/42", content)
    await versioned.client.delete_object(Bucket=versioned.name, Key="tmp/42")
    await versioned.write("tmp/42", b"four")
    await versioned.write("tmp/421")
    async with versioned.handler("version") as handler:
        assert await attempt(handler) == CleanupResult.done()
    assert [key for key, _ in await versioned.versions()] == ["tmp/421"]


async def test_a_key_with_every_kind_of_character_is_removed(plain: Bucket) -> None:
    key = "tmp/ü +%2F?#&='\"<>*(1)"
    await plain.write(key)
    async with plain.handler("etag") as handler:
        assert await attempt(handler, {"key": key}) == CleanupResult.done()
    assert await plain.keys() == set()


@pytest.mark.parametrize("fence", ["version", "etag"])
async def test_i1_an_object_that_changed_since_it_was_observed_is_left_alone(
    fence: str, plain: Bucket, versioned: Bucket
) -> None:
    bucket = versioned if fence == "version" else plain
    await bucket.write("tmp/42", b"first")
    async with bucket.handler(fence) as handler:
        call = call_of(handler, HERE, identity=await handler.observe(HERE))
        await bucket.write("tmp/42", b"second")
        result = await handler.clean(call)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "changed since it was observed" in result.error
    assert await bucket.read("tmp/42") == b"second"


async def test_i1_the_same_bytes_written_anew_are_another_version(versioned: Bucket) -> None:
    await versioned.write("tmp/42")
    async with versioned.handler("version") as handler:
        before = await handler.observe(HERE)
        await versioned.write("tmp/42")
        assert await handler.observe(HERE) != before


async def test_what_was_written_before_versions_were_kept_is_removed_as_long_as_they_are_kept(plain: Bucket) -> None:
    await plain.write("tmp/42")
    await plain.keep_versions("Enabled")
    await plain.write("tmp/42", b"second")
    async with plain.handler("version") as handler:
        assert await attempt(handler) == CleanupResult.done()
        assert await plain.versions() == []
        await plain.write("tmp/42")
        await plain.keep_versions("Suspended")
        result = await attempt(handler)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "does not keep versions" in result.error
    assert await plain.keys() == {"tmp/42"}


# -- prefixes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fence", ["version", "etag"])
async def test_everything_below_a_prefix_goes_and_nothing_beside_it(
    fence: str, plain: Bucket, versioned: Bucket
) -> None:
    bucket = versioned if fence == "version" else plain
    for key in ("tmp/job/1", "tmp/job/deep/er/2", "tmp/job-2/1", "tmp/jobs", "other"):
        await bucket.write(key)
    async with bucket.handler(fence) as handler:
        assert await attempt(handler, BELOW) == CleanupResult.done()
        assert await attempt(handler, BELOW) == CleanupResult.already_gone()
    assert await bucket.keys() == {"tmp/job-2/1", "tmp/jobs", "other"}


async def test_one_attempt_removes_a_bounded_number_and_the_next_goes_on(plain: Bucket) -> None:
    for number in range(7):
        await plain.write(f"tmp/job/{number}")
    async with plain.handler("etag", objects_max=3) as handler:
        for left in (4, 1):
            result = await attempt(handler, BELOW)
            assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
            assert "3 were removed, and more are left" in result.error
            assert len(await plain.keys()) == left
        assert await attempt(handler, BELOW) == CleanupResult.done()


async def test_i8_nothing_more_is_removed_when_the_attempt_may_not_proceed(plain: Bucket) -> None:
    for number in range(5):
        await plain.write(f"tmp/job/{number}")
    async with plain.handler("etag") as handler:
        for allowed in (0, 2):
            answers: Iterator[bool] = iter([True] * allowed + [False] * 99)
            identity = await handler.observe(BELOW)
            call = call_of(handler, BELOW, identity=identity, still_leading=lambda: next(answers))  # noqa: B023
            result = await handler.clean(call)
            assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
            assert f"{allowed} of 5 were removed" in result.error
            assert len(await plain.keys()) == 5 - allowed


# -- uploads ----------------------------------------------------------------------------------------------------


async def test_unfinished_uploads_to_a_key_are_aborted_with_it(plain: Bucket) -> None:
    await plain.begin_upload("tmp/42")
    other = await plain.begin_upload("tmp/421")
    async with plain.handler("etag") as handler:
        assert await attempt(handler) == CleanupResult.done()
        assert await attempt(handler) == CleanupResult.already_gone()
    assert await plain.uploads() == {("tmp/421", other)}


async def test_unfinished_uploads_below_a_prefix_are_aborted_with_it(plain: Bucket) -> None:
    await plain.begin_upload("tmp/job/1")
    await plain.write("tmp/job/2")
    async with plain.handler("etag") as handler:
        assert await attempt(handler, BELOW) == CleanupResult.done()
    assert await plain.uploads() == set()
    assert await plain.keys() == set()


async def test_one_upload_alone_can_be_aborted_and_the_object_stays(plain: Bucket) -> None:
    await plain.write("tmp/42", b"in use")
    one, other = await plain.begin_upload("tmp/42"), await plain.begin_upload("tmp/42")
    async with plain.handler("etag") as handler:
        assert await attempt(handler, {**HERE, "upload_id": one}) == CleanupResult.done()
        assert await attempt(handler, {**HERE, "upload_id": one}) == CleanupResult.already_gone()
    assert await plain.uploads() == {("tmp/42", other)}
    assert await plain.read("tmp/42") == b"in use"


async def test_uploads_are_left_where_the_operator_says_that_they_cannot_be_listed(plain: Bucket) -> None:
    await plain.write("tmp/42")
    begun = await plain.begin_upload("tmp/42")
    async with plain.handler("etag", uploads=False) as handler:
        assert await attempt(handler) == CleanupResult.done()
    assert await plain.uploads() == {("tmp/42", begun)}


async def test_i1_an_upload_that_was_begun_since_is_left_alone(plain: Bucket) -> None:
    async with plain.handler("etag") as handler:
        call = call_of(handler, HERE, identity=await handler.observe(HERE))
        begun = await plain.begin_upload("tmp/42")
        assert (await handler.clean(call)).verdict is Verdict.FAILED
    assert await plain.uploads() == {("tmp/42", begun)}


# -- fences that do not hold ------------------------------------------------------------------------------------


async def test_i5_without_versions_the_fence_by_version_removes_nothing(plain: Bucket) -> None:
    await plain.write("tmp/42")
    async with plain.handler("version") as handler:
        result = await attempt(handler)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "does not keep versions, so nothing fences" in result.error
    assert await plain.keys() == {"tmp/42"}


# -- failures ---------------------------------------------------------------------------------------------------


async def test_a_store_that_is_away_fails_the_attempt_and_keeps_no_node_from_starting(plain: Bucket) -> None:
    async with plain.handler("etag", endpoint_url="http://127.0.0.1:1") as handler:
        with pytest.raises(ObservationError) as caught:
            await handler.observe(HERE)
        assert caught.value.retryable
        result = await handler.clean(call_of(handler, HERE))
        assert (result.verdict, result.retryable) == (Verdict.FAILED, True)


async def test_wrong_credentials_can_be_corrected_and_are_shown_nowhere(plain: Bucket) -> None:
    wrong = {**CREDENTIALS, "secret_access_key": "not-the-secret"}
    async with plain.handler("etag", credentials=wrong) as handler:
        result = await handler.clean(call_of(handler, HERE))
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "not-the-secret" not in result.error


async def test_a_bucket_that_is_not_there_is_not_taken_for_an_object_that_is_gone(plain: Bucket) -> None:
    async with plain.handler("etag", buckets={"absent-bucket": ["*"]}) as handler:
        with pytest.raises(ObservationError, match="NoSuchBucket"):
            await handler.observe(HERE)


# -- config check -----------------------------------------------------------------------------------------------


async def problems_of(bucket: Bucket, fence: str, **options: object) -> list[str]:
    handler = bucket.made_handler(fence, **options)
    return list(await asyncio.to_thread(handler.check))


async def test_check_finds_nothing_where_nothing_is_wrong(plain: Bucket, versioned: Bucket) -> None:
    assert await problems_of(plain, "etag") == []
    assert await problems_of(plain, "none", buckets={plain.name: ["tmp/", "in/"]}) == []
    assert await problems_of(versioned, "version") == []
    assert await plain.keys() == set()


async def test_check_tells_what_is_wrong(plain: Bucket) -> None:
    (problem,) = await problems_of(plain, "version")
    assert "does not keep versions" in problem
    (problem,) = await problems_of(plain, "etag", buckets={"absent-bucket": ["*"]})
    assert "NoSuchBucket" in problem
    (problem,) = await problems_of(plain, "etag", endpoint_url="http://127.0.0.1:1")
    assert "127.0.0.1:1" in problem
    (problem,) = await problems_of(plain, "etag", tls_authority="/no/such/file", endpoint_url="https://127.0.0.1:1")
    assert problem


# -- one request for one deletion -------------------------------------------------------------------------------


async def hang_up(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def send_elsewhere(request: web.Request) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": f"http://{request.host}/elsewhere"})


async def send_to_another_region(request: web.Request) -> web.StreamResponse:
    error = f"<Error><Code>PermanentRedirect</Code><Message>m</Message><Endpoint>{request.host}</Endpoint></Error>"
    return web.Response(status=301, text=error, headers={"x-amz-bucket-region": "eu-central-1"})


async def fail(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=503, text="<Error><Code>SlowDown</Code><Message>m</Message></Error>")


@pytest.mark.parametrize("answer", [hang_up, send_elsewhere, send_to_another_region, fail])
async def test_i8_a_deletion_is_sent_once_whatever_the_store_answers(answer: Answer) -> None:
    bucket = Bucket(None, "", "bucket")
    async with crooked_store(answer) as (url, asked), bucket.handler("none", endpoint_url=url) as handler:
        result = await attempt(handler)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert [each for each in asked if not each.startswith("GET")] == ["DELETE /bucket/tmp/42"]


async def test_i5_where_conditions_are_not_heeded_the_fence_by_etag_removes_nothing() -> None:
    """As with servers that do not know the header: they agree to everything."""

    async def agree(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    bucket = Bucket(None, "", "bucket")
    async with crooked_store(agree) as (url, asked), bucket.handler("etag", endpoint_url=url) as handler:
        result = await attempt(handler)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "does not heed If-Match, so nothing fences" in result.error
    assert [each for each in asked if not each.startswith("GET")] == ["DELETE /bucket/tmp/.garbagetruck-probe"]


async def test_a_list_that_is_not_found_is_not_taken_for_an_object_that_is_gone() -> None:
    """As when the endpoint leads to something else that speaks HTTP."""
    application = web.Application()
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        async with Bucket(None, "", "bucket").handler("none", endpoint_url=f"http://{host}:{port}") as handler:
            with pytest.raises(ObservationError, match="404") as caught:
                await handler.observe(HERE)
            assert caught.value.retryable
            assert (await handler.clean(call_of(handler, HERE))).verdict is Verdict.FAILED
    finally:
        await runner.cleanup()


async def test_a_store_that_does_not_answer_is_left_after_as_long_as_the_operator_says() -> None:
    async def silent(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    bucket = Bucket(None, "", "bucket")
    async with (
        crooked_store(silent) as (url, _),
        bucket.handler("none", endpoint_url=url, answer_timeout="100ms") as handler,
    ):
        result = await attempt(handler)
    assert (result.verdict, result.retryable) == (Verdict.FAILED, True)
    assert "imeout" in result.error
