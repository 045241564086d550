"""Every gateway against real servers, for one suite over all of them. A new one costs one entry in MEMBERS.

`Site` is what an entry gives: running servers, and gateways of ours that lead to their ports or to whatever stands
before them. How gateways are made stands here and nowhere else in the suite.
"""

import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from daemon.bridge import off_loop
from daemon.domain.imaging import Job, JobFile, JobKind, JobState
from daemon.imaging.fundus.job import FundusGateway
from daemon.imaging.jobs.asking import Received, kept_file
from daemon.imaging.jobs.folder import JobFolder
from daemon.imaging.jobs.steps import Done, Gateway, NotYet, Step, Work, step_named
from daemon.imaging.pathology.job import PathologyGateway, PathologyJobRules
from daemon.imaging.retina.job import INFER, ConfiguredBuckets, RetinaGateway
from imaging.buckets.s3 import S3Buckets
from imaging.cos.slide import CosCredentials, CosRules
from imaging.fundus.client import FundusClient
from imaging.pathology.client import Pathology
from imaging.retina.analysis import Retina
from imaging.retina.parameters import parse_parameters
from tests import oct as scans
from tests import rules
from tests.daemon.imaging.conftest import MARKED
from tests.servers import s3
from tests.servers.cos import CosServer
from tests.servers.fundus import APP_ID, TOKEN, FundusServer
from tests.servers.fundus_answers import ultra_wide_answer
from tests.servers.kserve import GrpcServer, HttpServer, Rack
from tests.servers.pathology import PASSWORD, USERNAME, PathologyServer
from tests.servers.proxy import FaultProxy
from tests.servers.s3 import S3Server
from tests.slides import write_slide

# Whatever is answered may take so long: a loaded machine has all the time that it needs.
TIMEOUT_S = 60.0
Inputs = dict[str, Any]
Files = list[tuple[str, Path]]


@dataclass(frozen=True, kw_only=True)
class Site:
    """One back end. ports: of its servers, by a name. make(ports, timeout_s): a gateway that leads to these ports.

    inputs, files: as its route or desk gives them for a job that is good; bad: those that are not, by what is wrong.
    begin: the step that such a job begins with; None: the first. acted: how often a step that must not be done twice
    was done at the server, of each there is. any_yes: steps whose yes has no known shape. secrets: all that are known
    by now. deny: has a server refuse us (False: no more), of those whose way is no plain 401 of HTTP, by their names.
    """

    kind: JobKind
    ports: Mapping[str, int]
    make: Callable[[Mapping[str, int], float], Gateway]
    inputs: Inputs
    files: Files
    bad: Mapping[str, tuple[Inputs, Files]]
    begin: str | None = None
    acted: Mapping[str, Callable[[], int]] = field(default_factory=dict)
    any_yes: frozenset[str] = frozenset()
    secrets: Callable[[], set[str]] = set
    deny: Mapping[str, Callable[[bool], None]] = field(default_factory=dict)


# --- the table ---


def _pathology(folder: Path, stack: ExitStack) -> Site:
    cos = stack.enter_context(CosServer(folder / "cos"))
    platform = stack.enter_context(PathologyServer(cos))
    platform.needs_callback = True

    def make(ports: Mapping[str, int], timeout_s: float) -> Gateway:
        def cos_rules(_credentials: CosCredentials) -> CosRules:
            return rules.cos(
                cos.bucket,
                cos.region,
                endpoint=f"127.0.0.1:{ports['cos']}",
                secure=False,
                part_size_mib=1,
                attempts=2,
                timeout_s=timeout_s,
            )

        of_jobs = PathologyJobRules(
            username=USERNAME,
            password=PASSWORD,
            organization="测试医院",
            source=3696,
            cos=cos_rules,
            poll_interval_s=0.01,
            polls_max=5,
            zone=UTC,
        )
        base_url = f"http://127.0.0.1:{ports['platform']}"
        return PathologyGateway(Pathology(rules.pathology(base_url=base_url, timeout_s=timeout_s)), of_jobs)

    slide = write_slide(folder / "活检-01.tif", side=2048, levels=1)
    cut, text = folder / "cut.tif", folder / "text.svs"
    cut.write_bytes(slide.read_bytes()[: slide.stat().st_size // 2])
    text.write_bytes(b"not a slide at all")
    inputs = {"disease": 14, "organization": None, "source": None, "is_run": True}
    return Site(
        kind=JobKind.PATHOLOGY,
        ports={"platform": platform.port, "cos": cos.port},
        make=make,
        inputs=inputs,
        files=[(slide.name, slide)],
        bad={
            "no slide": (inputs, [(text.name, text)]),
            "half a slide": (inputs, [(cut.name, cut)]),
            "an unknown disease": (inputs | {"disease": 9}, [(slide.name, slide)]),
            "an organization that is a path": (inputs | {"organization": "../a"}, [(slide.name, slide)]),
        },
        acted={
            "create_wsi_file_record": lambda: platform.seen.calls["callback"],
            "create_wsi_record": lambda: platform.seen.calls["create"],
        },
        any_yes=frozenset({"create_wsi_file_record"}),
        secrets=lambda: platform.secrets,
    )


def _fundus(folder: Path, stack: ExitStack) -> Site:
    server = stack.enter_context(FundusServer(ultra_wide_answer(left={"MacularHole": "1"}, left_detail=MARKED)))

    def make(ports: Mapping[str, int], timeout_s: float) -> Gateway:
        where = rules.fundus(
            base_url=f"http://127.0.0.1:{ports['eyes']}",
            app_id=APP_ID,
            token=TOKEN,
            poll_interval_s=0.01,
            retry_wait_s=0.01,
            # A query has a quarter of it.
            timeout_s=4 * timeout_s,
        )
        return FundusGateway(FundusClient(where, off_loop=off_loop))

    left, right = (scans.picture(folder / name, scans.b_scan(100, 100)) for name in ("P001_OS.jpg", "P001_OD.png"))
    text = folder / "text.jpg"
    text.write_bytes(b"hello")
    inputs: Inputs = {
        **{"ai_type": "12", "eyes": [], "camera": "auto", "need_report": True, "patient_id": "p001"},
        **{"patient_name": None, "patient_gender": None, "patient_birthday": "1980-01-01"},
    }
    return Site(
        kind=JobKind.FUNDUS,
        ports={"eyes": server.port},
        make=make,
        inputs=inputs,
        files=[(left.name, left), (right.name, right)],
        bad={
            "no picture": (inputs, [(text.name, text)]),
            "too many pictures": (inputs, [(left.name, left)] * 21),
            "a birthday in the future": (inputs | {"patient_birthday": "2999-01-01"}, [(left.name, left)]),
        },
        acted={"upload_study": lambda: server.calls["upload"] + server.calls["file"]},
        secrets=lambda: {TOKEN},
    )


def _retina_of_a_bucket(folder: Path, stack: ExitStack) -> Site:
    """Over gRPC; the picture lies in a bucket of S3, and the result is written there."""
    store = stack.enter_context(S3Server(folder / "s3"))
    rack = Rack({"oct": scans.model(folder / "oct.onnx", gives=("scores", "maps"), height=31, width=47)})
    server = stack.enter_context(GrpcServer(rack))
    scan = scans.picture(store.root / s3.BUCKET / "a.png", scans.b_scan(97))

    def make(ports: Mapping[str, int], timeout_s: float) -> Gateway:
        bucket = rules.s3(
            endpoint=f"127.0.0.1:{ports['store']}",
            access_key=s3.ACCESS_KEY,
            secret_key=s3.SECRET_KEY,
            secure=False,
            timeout_s=timeout_s,
        )
        return _retina_gateway(f"http://127.0.0.1:{ports['model']}", "grpc", timeout_s, {"s3": S3Buckets(bucket)})

    buckets = S3Buckets(
        rules.s3(endpoint=store.endpoint, access_key=s3.ACCESS_KEY, secret_key=s3.SECRET_KEY, secure=False)
    )
    [found] = buckets.find(s3.BUCKET, "a.png", files_max=1)
    buckets.close()
    lies = {"key": found.key, "size": found.size, "media_type": found.media_type, "version": found.version}
    inputs = _retina_inputs("a.png") | {
        "source": {"store": "s3", "bucket": s3.BUCKET, "object": lies},
        "output": {"store": "s3", "bucket": s3.BUCKET, "path": "results/1/result.json"},
    }

    def deny(is_denied: bool) -> None:
        rack.fault = "denied" if is_denied else ""

    return Site(
        kind=JobKind.RETINA,
        ports={"model": server.port, "store": store.port},
        make=make,
        inputs=inputs,
        files=[],
        bad=_bad_scans(folder, scan),
        secrets=lambda: {s3.SECRET_KEY, s3.ACCESS_KEY},
        deny={"model": deny},
    )


def _retina_of_an_upload(folder: Path, stack: ExitStack) -> Site:
    """Over HTTP; the picture was uploaded, and the result goes nowhere else."""
    server = stack.enter_context(HttpServer(Rack({"oct": scans.model(folder / "oct.onnx")})))
    scan = scans.picture(folder / "a.png", scans.b_scan(97))

    def make(ports: Mapping[str, int], timeout_s: float) -> Gateway:
        return _retina_gateway(f"http://127.0.0.1:{ports['model']}", "http", timeout_s, {})

    return Site(
        kind=JobKind.RETINA,
        ports={"model": server.port},
        make=make,
        inputs=_retina_inputs("a.png"),
        files=[("a.png", scan)],
        bad=_bad_scans(folder, scan),
        begin=INFER,
    )


def _retina_gateway(url: str, protocol: Any, timeout_s: float, stores: Mapping[str, Any]) -> Gateway:
    where = rules.retina(
        server_url=url,
        protocol=protocol,
        model_name="oct",
        labels=scans.LABELS,
        timeout_s=timeout_s,
        connect_timeout_s=timeout_s,
    )
    return RetinaGateway(Retina(where, off_loop=off_loop), ConfiguredBuckets(stores), image_bytes_max=2**20)


def _retina_inputs(name: str) -> Inputs:
    parameters = parse_parameters(None).model_dump(mode="json")
    about = {"examination_id": "E-17", "parameters": parameters, "webhook": "his.example", "filename": name}
    return {**about, "source": None, "output": None}


def _bad_scans(folder: Path, scan: Path) -> dict[str, tuple[Inputs, Files]]:
    text, inputs = folder / "text.png", _retina_inputs("text.png")
    text.write_bytes(b"not a picture")
    cropped = parse_parameters('{"mm_crop_zone": 6}').model_dump(mode="json")
    return {
        "no picture": (inputs, [(text.name, text)]),
        "a zone in millimetres of a picture without": (inputs | {"parameters": cropped}, [(scan.name, scan)]),
    }


MEMBERS: dict[str, tuple[JobKind, Callable[[Path, ExitStack], Site]]] = {
    "pathology": (JobKind.PATHOLOGY, _pathology),
    "fundus": (JobKind.FUNDUS, _fundus),
    "retina, gRPC and a bucket": (JobKind.RETINA, _retina_of_a_bucket),
    "retina, HTTP and an upload": (JobKind.RETINA, _retina_of_an_upload),
}


# --- a gateway at work, without the runner ---


@dataclass(kw_only=True)
class Desk:
    """One gateway of a site, with a proxy before each server. shares: of progress, as each step told it."""

    site: Site
    gateway: Gateway
    fronts: Mapping[str, FaultProxy]
    folder: JobFolder
    shares: dict[str, list[float]] = field(default_factory=dict)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Those of the site's job."""
        names = [step.name for step in self.gateway.steps]
        return self.gateway.steps[names.index(self.site.begin or names[0]) :]

    @property
    def connections(self) -> int:
        return sum(len(front.sent) for front in self.fronts.values())

    def lead_to(self, port: int | None, *, besides: Collection[str] = ()) -> int:
        """Every front, to this port; None: nobody listens. Returns how many connections there were."""
        for name, front in self.fronts.items():
            if name in besides:
                continue
            if port is None:
                front.refuse()
            else:
                front.lead_to(port)
        return self.connections

    async def accepted(self, inputs: Inputs | None = None, files: Files | None = None) -> Job:
        """A job that is queued, as its row gives it back after a restart. Raises InputInvalid."""
        files = self.site.files if files is None else files
        taken = await self.gateway.accept(self.site.inputs if inputs is None else inputs, files)
        now = datetime.now(UTC)
        return Job(
            id=uuid4(),
            kind=self.site.kind,
            state=JobState.QUEUED,
            step=self.steps[0].name,
            message="排队中",
            inputs=json.loads(json.dumps(taken)),
            created_by="-",
            created_at=now,
            changed_at=now,
            step_at=now,
            next_at=now,
        )

    def files(self, job: Job) -> list[JobFile]:
        received = [
            Received(name=name, path=path, media_type="application/octet-stream", size=path.stat().st_size)
            for name, path in self.site.files
        ]
        return [kept_file(job.id, job.kind, number, each) for number, each in enumerate(received, start=1)]

    def work(self, job: Job) -> Work:
        files, shares = self.files(job), self.shares.setdefault(job.step, [])
        folder = self.folder.of(job.id)
        return Work(
            job=job,
            files=tuple(files),
            paths=tuple(folder / file.path for file in files),
            folder=folder,
            progress=lambda share, _message: shares.append(share),
        )

    async def done(self, job: Job) -> Done:
        """What the step gives that the job is at, asked again while it is not yet there."""
        step, _ = step_named(self.gateway, job.step)
        while isinstance(outcome := await step.run(self.work(job)), NotYet):
            pass
        return outcome

    async def stepped(self, job: Job) -> Job:
        """After the step that it is at, as its row gives it back; after the last it is done."""
        _, following = step_named(self.gateway, job.step)
        outcome, now = await self.done(job), datetime.now(UTC)
        output = json.loads(json.dumps(outcome.output))
        if following is None:
            return job.done(output, json.loads(json.dumps(outcome.result)), now, outcome.message)
        return job.stepped(output, following.name, now, outcome.message)

    async def at(self, name: str) -> Job:
        """A new job that has come as far as this step."""
        job = await self.accepted()
        while job.step != name:
            job = await self.stepped(job)
        return job


@asynccontextmanager
async def desk(site: Site, folder: Path, *, timeout_s: float = TIMEOUT_S) -> AsyncIterator[Desk]:
    with ExitStack() as stack:
        fronts = {name: stack.enter_context(FaultProxy(port)) for name, port in site.ports.items()}
        async with AsyncExitStack() as closing:
            gateway = site.make({name: front.port for name, front in fronts.items()}, timeout_s)
            closing.push_async_callback(gateway.close)
            yield Desk(site=site, gateway=gateway, fronts=fronts, folder=JobFolder(folder / "jobs", bytes_max=1 << 40))
