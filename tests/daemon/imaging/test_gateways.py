"""One suite over every gateway: what is refused at the door, done once, told as one of our errors, and kept secret."""

import asyncio
import hashlib
import json
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from daemon.domain.imaging import Job, JobError, JobKind, JobState
from daemon.feed import Feed
from daemon.imaging.jobs.folder import JobFolder
from daemon.imaging.jobs.running import JobRunner, RunRules
from daemon.imaging.jobs.steps import Done, Gateway
from daemon.log import QUIET
from daemon.storage.database import Unit
from imaging.errors import Failed, InputInvalid, InputMissing, Refused, Unauthorized, Unclear, Unreachable
from imaging.pathology import client
from tests.daemon.imaging.gateways import MEMBERS, TIMEOUT_S, Desk, Site, desk
from tests.servers.broken import ANSWERS, BREAKS, ECHOES, LATE, Broken
from tests.waiting import DEADLINE_S, until

# However slow the machine is.
# What stalls costs so long; what works takes a hundredth of it.
LATE_S = 1.5


@pytest.fixture(autouse=True)
def _asked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pathology asks three times; how long it waits in between is no matter of this suite."""
    monkeypatch.setattr(client, "_RETRY_S", 0.01)


@pytest.fixture(scope="module", params=MEMBERS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as stack:
        yield MEMBERS[request.param][1](tmp_path_factory.mktemp("site"), stack)


@pytest.fixture
async def at_hand(site: Site, tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(site, tmp_path) as made:
        yield made


@pytest.mark.parametrize("kind", JobKind)
def test_every_kind_of_job_is_in_this_suite(kind: JobKind) -> None:
    assert kind in {kind for kind, _ in MEMBERS.values()}


def test_its_steps_have_names_chinese_titles_and_a_hint_where_one_is_needed(at_hand: Desk) -> None:
    gateway = at_hand.gateway
    names = [step.name for step in gateway.steps]

    assert gateway.kind is at_hand.site.kind
    assert len(set(names)) == len(names) > 0
    assert [step.name for step in gateway.steps if not _is_chinese(step.title)] == []
    once = {step.name for step in gateway.steps if not step.is_repeatable}
    assert once == set(at_hand.site.acted), "each step that must not be done twice is counted at the server"
    assert not once or _is_chinese(gateway.hint)
    assert [step.name for step in gateway.steps if step.is_repeatable and step.recall is not None] == []


def _is_chinese(text: str) -> bool:
    return any("\u4e00" <= char <= "\u9fff" for char in text)


# --- the door ---


async def test_what_is_good_is_accepted_without_the_back_end_and_kept_whole_in_a_row(at_hand: Desk) -> None:
    at_hand.lead_to(None)
    before, given = _prints(at_hand.site), json.dumps(at_hand.site.inputs)

    taken = await at_hand.gateway.accept(at_hand.site.inputs, at_hand.site.files)

    assert json.loads(json.dumps(taken)) == taken
    assert json.dumps(at_hand.site.inputs) == given
    assert _prints(at_hand.site) == before
    assert at_hand.connections == 0


async def test_what_is_bad_is_refused_with_its_field_and_the_back_end_hears_nothing(at_hand: Desk) -> None:
    assert at_hand.site.bad
    for what, (inputs, files) in at_hand.site.bad.items():
        with pytest.raises(InputInvalid) as caught:
            await at_hand.gateway.accept(inputs, files)
        assert (what, bool(caught.value.field), _is_chinese(caught.value.message)) == (what, True, True)
    assert at_hand.connections == 0


def _prints(site: Site) -> list[tuple[str, int, str]]:
    return [(name, path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) for name, path in site.files]


# --- a job that goes well ---


async def test_a_whole_job_is_done_and_tells_no_secret(
    at_hand: Desk, unit: Unit, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    job = await at_hand.accepted()

    async with working(at_hand, unit) as work:
        seen = await work.seen(job)

    ended = await row(unit, job)
    assert (ended.state, ended.error, ended.progress) == (JobState.DONE, None, 1.0), ended.message
    assert ended.result
    assert list(ended.outputs) == [step.name for step in at_hand.steps]
    for step in at_hand.steps:
        shares = [state.progress for state in seen if state.step == step.name]
        assert shares == sorted(shares)
        assert all(0 <= share <= 1 for share in shares)
    ours = [each.getMessage() for each in caplog.records if each.name.partition(".")[0] not in QUIET]
    told = json.dumps([*ours, [str(state) for state in seen], ended.outputs, ended.result], ensure_ascii=False)
    assert [secret for secret in at_hand.site.secrets() if secret in told] == []


async def test_every_step_goes_on_in_another_process_and_acts_once(site: Site, tmp_path: Path) -> None:
    before = {name: count() for name, count in site.acted.items()}
    async with desk(site, tmp_path) as first:
        job = await first.accepted()
    while job.state is not JobState.DONE:
        async with desk(site, tmp_path) as later:
            job = await later.stepped(job)
            shares = later.shares.popitem()[1]
            assert shares == sorted(shares)
            assert not shares or (shares[0] >= 0 and shares[-1] == 1.0)

    assert job.result
    assert {name: count() - before[name] for name, count in site.acted.items()} == dict.fromkeys(before, 1)


async def test_a_step_that_may_be_repeated_gives_the_same_twice(at_hand: Desk) -> None:
    job = await at_hand.accepted()
    for step in at_hand.steps:
        first = await at_hand.done(job)
        if step.is_repeatable:
            second = await at_hand.done(job)
            assert (second.output, second.result) == (first.output, first.result), step.name
        job = job.stepped(first.output, step.name, datetime.now(UTC), first.message)
        names = [each.name for each in at_hand.steps]
        job = replace(job, step=names[min(names.index(step.name) + 1, len(names) - 1)])


# --- a back end that is away, or is not itself ---


async def test_a_back_end_that_is_away_is_unreachable_at_every_step(site: Site, tmp_path: Path) -> None:
    wrong: dict[str, str] = {}
    away = 0
    async with AsyncExitStack() as stack:
        for step, at_it, job in await _each_step(site, tmp_path, stack):
            came = at_it.lead_to(None)
            outcome = await _outcome(at_it, job)
            # What needs nobody is done all the same; that is never all of a job.
            if not isinstance(outcome, Unreachable | Done) or _why_wrong(outcome, at_it, step, came):
                wrong[step] = repr(outcome)
            away += isinstance(outcome, Unreachable)

    assert away
    assert not wrong, "\n".join(f"{place}: {why}" for place, why in wrong.items())


async def test_a_job_waits_for_a_back_end_that_is_away_and_is_done_when_it_is_back(at_hand: Desk, unit: Unit) -> None:
    job = await at_hand.accepted()
    at_hand.lead_to(None)

    async with working(at_hand, unit) as work:
        [*_, waiting] = await work.seen(job, lambda state: state.attempts >= 2)
        assert (waiting.state, waiting.error) == (JobState.RUNNING, None)
        for name, front in at_hand.fronts.items():
            front.lead_to(at_hand.site.ports[name])
        await work.seen(None)

    ended = await row(unit, job)
    assert (ended.state, ended.error) == (JobState.DONE, None), ended.message


async def test_whatever_is_answered_is_one_of_our_errors_and_says_no_secret(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong: dict[tuple[str, str], str] = {}
    async with AsyncExitStack() as stack:
        servers = {how: stack.enter_context(Broken(how)) for how in (*ANSWERS, *ECHOES, *BREAKS)}
        for step, at_it, job in await _each_step(site, tmp_path, stack):
            for how, broken in servers.items():
                came = at_it.lead_to(broken.port)
                outcome = await _outcome(at_it, job)
                is_a_yes = how == "another JSON" and step in site.any_yes and isinstance(outcome, Done)
                is_missing = how == "a 404" and isinstance(outcome, InputMissing)
                why = _why_wrong(outcome, at_it, step, came, are_our_words=how not in ECHOES)
                if why and not is_a_yes and not is_missing:
                    wrong[step, how] = why

    assert not wrong, "\n".join(f"{place}: {why}" for place, why in wrong.items())
    ours = [each.getMessage() for each in caplog.records if each.name.partition(".")[0] not in QUIET]
    assert [line for line in ours if any(secret in line for secret in site.secrets())] == []


async def test_whoever_is_late_is_left_in_time_with_one_of_our_errors(site: Site, tmp_path: Path) -> None:
    wrong: dict[tuple[str, str], str] = {}
    async with AsyncExitStack() as stack:
        late = {how: stack.enter_context(Broken(how)) for how in LATE}
        waiting = []
        for how, broken in late.items():
            for step, at_it, job in await _each_step(site, tmp_path, stack, timeout_s=LATE_S):
                waiting.append((step, how, at_it, job, at_it.lead_to(broken.port)))
        outcomes = await asyncio.gather(*(_outcome(at_it, job) for _, _, at_it, job, _ in waiting))
        for (step, how, at_it, _, came), outcome in zip(waiting, outcomes, strict=True):
            if why := _why_wrong(outcome, at_it, step, came):
                wrong[step, how] = why

    assert not wrong, "\n".join(f"{place}: {why}" for place, why in wrong.items())


async def test_a_back_end_that_does_not_know_us_is_told_as_that(site: Site, tmp_path: Path) -> None:
    wrong: dict[tuple[str, str], object] = {}
    for how, kind in (("a 401", Unauthorized), ("a 403", Refused)):
        async with AsyncExitStack() as stack:
            for step, at_it, job in await _each_step(site, tmp_path, stack):
                with Broken(how) as broken:
                    came = at_it.lead_to(broken.port, besides=site.deny)
                    for deny in site.deny.values():
                        deny(True)
                    outcome = await _outcome(at_it, job)
                    for deny in site.deny.values():
                        deny(False)
                if not isinstance(outcome, kind) and not (isinstance(outcome, Done) and at_it.connections == came):
                    wrong[step, how] = outcome

    assert not wrong, "\n".join(f"{place}: {why}" for place, why in wrong.items())


async def _each_step(
    site: Site, folder: Path, stack: AsyncExitStack, *, timeout_s: float = TIMEOUT_S
) -> list[tuple[str, Desk, Job]]:
    """A desk for each step, and a job that has come as far."""
    async with desk(site, folder) as first:
        names = [step.name for step in first.steps]
    found = []
    for name in names:
        at_it = await stack.enter_async_context(desk(site, folder, timeout_s=timeout_s))
        found.append((name, at_it, await _walked(at_it, name)))
    return found


async def _walked(at_it: Desk, name: str) -> Job:
    """On a slow machine a short deadline strikes on the way already."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await at_it.at(name)
            except (Unreachable, Unclear):
                continue


async def _outcome(at_it: Desk, job: Job) -> Done | BaseException:
    async with asyncio.timeout(DEADLINE_S):
        [outcome] = await asyncio.gather(at_it.done(job), return_exceptions=True)
    return outcome


def _why_wrong(outcome: Done | BaseException, at_it: Desk, step: str, came: int, *, are_our_words: bool = True) -> str:
    """came: how many connections there had been before it. are_our_words: none of the back end's, which are shown."""
    asked = at_it.connections > came
    if isinstance(outcome, Done):
        # What needs no answer has none to stumble over.
        return f"done: {outcome.message}" if asked else ""
    if not isinstance(outcome, Unreachable | Unclear | Refused | Failed):
        return repr(outcome)
    if asked and isinstance(outcome, Unreachable) and step in at_it.site.acted:
        return "said to be unsent, and would be sent again"
    told = f"{outcome!r} {outcome} {outcome.message} {outcome.code}"
    has_address = "://" in told or any(str(front.port) in told for front in at_it.fronts.values())
    if not _is_chinese(outcome.message) or (are_our_words and has_address):
        return f"not for a person: {told}"
    return f"a secret: {told}" if any(secret in told for secret in at_it.site.secrets()) else ""


# --- what must not be done twice ---


async def test_what_was_done_and_its_answer_lost_is_not_done_again(site: Site, tmp_path: Path, unit: Unit) -> None:
    for name, acted in site.acted.items():
        async with desk(site, tmp_path) as at_it:
            job, before = await at_it.at(name), acted()
            for front in at_it.fronts.values():
                front.lose_answers()
            async with working(at_it, unit) as work:
                await work.seen(job)
        ended = await row(unit, job)
        assert acted() - before == 1, name
        assert ended.state is JobState.DONE or ended.error is JobError.OUTCOME_UNKNOWN, ended.message


@pytest.mark.parametrize("was_done", [True, False])
async def test_what_was_begun_before_a_restart_is_recalled_or_in_doubt_but_never_done_twice(
    site: Site, tmp_path: Path, unit: Unit, was_done: bool
) -> None:
    for name, acted in site.acted.items():
        async with desk(site, tmp_path) as killed:
            job, before = await killed.at(name), acted()
            if was_done:
                await killed.done(job)
        begun = replace(job, is_begun=True, state=JobState.RUNNING)
        async with desk(site, tmp_path) as later, working(later, unit) as work:
            await work.seen(begun)
            can_ask = next(step for step in later.steps if step.name == name).recall is not None
        ended = await row(unit, job)
        if can_ask:
            assert (ended.state, acted() - before) == (JobState.DONE, 1), ended.message
        else:
            assert (ended.error, acted() - before) == (JobError.OUTCOME_UNKNOWN, int(was_done)), ended.message
            assert later.gateway.hint in ended.message


# --- the end ---


async def test_a_step_cancelled_in_the_middle_leaves_no_task_and_no_thread(site: Site, tmp_path: Path) -> None:
    loop, threads = asyncio.get_running_loop(), set(threading.enumerate())
    tasks = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        for _, at_it, job in await _each_step(site, tmp_path, stack, timeout_s=LATE_S):
            with Broken("stall") as broken:
                at_it.lead_to(broken.port)
                step = asyncio.create_task(at_it.done(job))
                await until(lambda task=step, server=broken: task.done() or server.arrived.is_set(), DEADLINE_S)
                step.cancel()
                [outcome] = await asyncio.gather(step, return_exceptions=True)
                assert isinstance(outcome, asyncio.CancelledError | Done)
    # A worker of the loop ends its call by its own deadline.
    await asyncio.wait_for(loop.shutdown_default_executor(), DEADLINE_S)

    await until(lambda: asyncio.all_tasks() <= tasks, DEADLINE_S)
    await until(lambda: not _left(threads), DEADLINE_S)


def _left(before: set[threading.Thread]) -> list[str]:
    """The threads that are new, but for the one in which gRPC polls for a whole process."""
    return [each.name for each in set(threading.enumerate()) - before if "_poll_wrapper" not in each.name]


async def test_it_may_be_closed_twice_used_or_not(site: Site, tmp_path: Path) -> None:
    async with desk(site, tmp_path) as used:
        await used.done(await used.at(used.steps[-1].name))
        await used.gateway.close()
        await used.gateway.close()
    async with desk(site, tmp_path) as unused:
        await unused.gateway.close()


@pytest.mark.parametrize("kind", JobKind)
async def test_a_job_of_a_back_end_that_is_not_configured_says_so(kind: JobKind, unit: Unit, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    times = dict.fromkeys(("created_at", "changed_at", "step_at", "next_at"), now)
    job = Job(id=uuid4(), kind=kind, state=JobState.QUEUED, step="any", message="", inputs={}, created_by="-", **times)
    folder = JobFolder(tmp_path, bytes_max=1)

    async with running(unit, {}, folder) as work:
        await work.seen(job)

    assert (await row(unit, job)).error is JobError.NOT_CONFIGURED


# --- the runner ---


class Working:
    """A runner, and what its feed says."""

    def __init__(self, unit: Unit, runner: JobRunner, feed: Feed[Job], at_it: Desk | None) -> None:
        self._unit, self._runner, self._at_it = unit, runner, at_it
        self._feed = feed

    async def seen(self, job: Job | None, is_enough=lambda state: state.has_ended) -> list[Job]:
        """Every state that is told, up to the first that is enough. job: a new one; None: the one that is there."""
        states: list[Job] = []
        with self._feed.subscribe() as told:
            if job is not None:
                async with self._unit.begin() as tx:
                    await tx.imaging.add(job, self._at_it.files(job) if self._at_it else [])
                self._runner.wake()
            async with asyncio.timeout(DEADLINE_S):
                while not states or not is_enough(states[-1]):
                    states.append(await told.next())
        return states


@asynccontextmanager
async def running(
    unit: Unit, gateways: dict[JobKind, Gateway], folder: JobFolder, at_it: Desk | None = None
) -> AsyncIterator[Working]:
    feed = Feed[Job](4096)
    rules = RunRules(workers=2, retry_for=timedelta(hours=24))
    runner = JobRunner(unit, gateways, folder, feed, rules, on_end=lambda: None)
    task = asyncio.create_task(runner.run())
    try:
        yield Working(unit, runner, feed, at_it)
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def working(at_it: Desk, unit: Unit) -> AsyncIterator[Working]:
    async with running(unit, {at_it.site.kind: at_it.gateway}, at_it.folder, at_it) as work:
        yield work


async def row(unit: Unit, job: Job) -> Job:
    async with unit.read() as tx:
        found = await tx.imaging.get(job.id)
    assert found is not None
    return found
