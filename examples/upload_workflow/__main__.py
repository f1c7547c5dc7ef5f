"""`python -m examples.upload_workflow`: play, judge, print one line.

The last line on stdout is one JSON object, and the only one. Exit code 0 when every orphan was reclaimed, nothing in use is
gone and the leader was really killed; 1 with the reason on stderr; 130 when interrupted. Nothing is left behind, neither
a process nor the folder, unless `--keep` names one.
"""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from examples.upload_workflow.backstage import Mishap
from examples.upload_workflow.play import Play
from examples.upload_workflow.verdict import Verdict, judge
from garbagetruck.client.errors import GarbageTruckError

IMAGES_DEFAULT = 88
IMAGES_MIN = 16
IMAGES_MAX = 400
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def main() -> int:
    told = _arguments()
    try:
        folder = _make_folder(told.keep)
    except OSError as error:
        print(f"demo: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(_OPENING.format(folder=folder), file=sys.stderr)
    try:
        return asyncio.run(_perform(folder, told.images))
    except KeyboardInterrupt:  # before the first process was started: from then on signals end the play
        return EXIT_INTERRUPTED
    finally:
        if told.keep is None:
            shutil.rmtree(folder)


async def _perform(folder: Path, images: int) -> int:
    verdicts: list[Verdict] = []
    play = asyncio.create_task(Play(folder, images).run(lambda: verdicts.append(judge(folder))))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Once: ending everything is bounded in time, and a second Ctrl-C must not interrupt it.
        loop.add_signal_handler(number, lambda: play.cancel() if not play.cancelling() else None)
    try:
        await play
    except asyncio.CancelledError:
        print("demo: interrupted; everything was ended", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (Mishap, GarbageTruckError) as failure:
        print(f"demo: FAILED: {failure}", file=sys.stderr)
        return EXIT_FAILED
    return _tell(verdicts[0])


def _tell(verdict: Verdict) -> int:
    print(
        f"\nCounted on disk, in the database and in the services' own journals:\n"
        f"  {verdict.resources:4} things were made\n"
        f"  {verdict.in_use:4} are in use or permanent; {verdict.in_use_deleted} of those in use were deleted\n"
        f"  {verdict.orphans:4} became orphans; {verdict.reclaimed} of them were reclaimed, half of them"
        f" within {verdict.lateness_ms_at(0.5)} ms of the end of their grace,\n"
        f"       99 in 100 within {verdict.lateness_ms_at(0.99)} ms (in real time, the {verdict.failover_ms} ms without"
        f" a leader included; seen to within {verdict.resolution_ms:.0f} ms)\n",
        file=sys.stderr,
    )
    for reason in verdict.reasons:
        print(f"demo: FAILED: {reason}", file=sys.stderr)
    sys.stderr.flush()
    print(verdict.line(), flush=True)
    return EXIT_FAILED if verdict.reasons else 0


def _make_folder(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="garbagetruck-demo-"))
    keep.mkdir(parents=True, exist_ok=True)
    if any(keep.iterdir()):
        raise FileExistsError(f"{keep} is not empty; name a folder that does not exist yet")
    return keep.resolve()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.upload_workflow", description="GarbageTruck's demo")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="play in this folder, and leave it there")
    parser.add_argument("--images", type=int, default=IMAGES_DEFAULT, help="how many pictures (%(default)s)")
    told = parser.parse_args()
    if not IMAGES_MIN <= told.images <= IMAGES_MAX:
        parser.error(f"--images must be from {IMAGES_MIN} to {IMAGES_MAX}")
    return told


_OPENING = """\
GarbageTruck: services lease what they make. What nobody holds any more is cleaned up; what somebody holds never is.
This demo runs a cluster and an upload workflow, and then kills a service, and the cluster's leader.
All of it lies in {folder}
"""

if __name__ == "__main__":
    sys.exit(main())
