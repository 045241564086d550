"""What `orwatch check` looks at of the imaging back ends that are configured; of the others it says nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime

from daemon.cli.checks import NOTE, OK, PROBLEM, Line, gathered, unusable
from daemon.config import Settings
from daemon.domain.imaging import JobKind
from daemon.imaging.backends import is_configured
from daemon.imaging.fundus.setup import fundus_rules_of
from daemon.imaging.pathology.setup import pathology_rules_of
from daemon.imaging.retina.setup import buckets_of, retina_of
from daemon.imaging.ultrasound.setup import is_ultrasound_configured, ultrasound_files_of, ultrasound_rules_of

_NOBODY = "orwatch-check"


def check_imaging(settings: Settings) -> list[Line]:
    """All that can be seen without connecting to anything."""
    kinds = [kind for kind in JobKind if is_configured(settings, kind)]
    lines = gathered("imaging", lambda: _folders(settings)) if kinds else []
    if JobKind.PATHOLOGY in kinds:
        lines += gathered("pathology", lambda: _pathology(settings))
    if JobKind.FUNDUS in kinds:
        lines += gathered("fundus", lambda: _fundus(settings))
    if JobKind.RETINA in kinds:
        lines += gathered("retina", lambda: _retina(settings))
    if is_ultrasound_configured(settings):
        lines += gathered("ultrasound", lambda: _ultrasound(settings))
    return lines


def check_imaging_servers(settings: Settings) -> list[Line]:
    """Log in and ask for something that leaves nothing behind."""
    import asyncio

    lines: list[Line] = []
    if is_configured(settings, JobKind.PATHOLOGY):
        lines += gathered("pathology", lambda: iter([asyncio.run(_pathology_answers(settings))]))
    if is_configured(settings, JobKind.FUNDUS):
        lines += gathered("fundus", lambda: iter(asyncio.run(_fundus_answers(settings))))
    if is_configured(settings, JobKind.RETINA):
        lines += gathered("retina", lambda: iter([asyncio.run(_retina_answers(settings))]))
        lines += gathered("retina", lambda: _buckets_answer(settings))
    return lines


def _folders(settings: Settings) -> Iterator[Line]:
    folder = settings.imaging.folder
    yield unusable("imaging", folder, "imaging.folder") or Line(OK, "imaging", f"jobs in {folder}")
    slides = settings.imaging.pathology.slides_dir
    if slides is not None and not slides.is_dir():
        yield Line(
            PROBLEM, "imaging", f"imaging.pathology.slides_dir: {slides}: no such folder", "Make it, or unset it."
        )


def _pathology(settings: Settings) -> Iterator[Line]:
    rules, pathology = pathology_rules_of(settings), settings.imaging.pathology
    for key in ("login_url", "credentials_url", "callback_url", "create_url", "list_url"):
        rules.url(key)
    if pathology.username is None:
        yield Line(PROBLEM, "pathology", "no user", "Set PATHOLOGY_USERNAME and PATHOLOGY_PASSWORD.")
    if pathology.organization is None:
        yield Line(
            NOTE, "pathology", "no organization: each request must name one", "Set imaging.pathology.organization."
        )
    if pathology.allow_http:
        yield Line(NOTE, "pathology", "allow_http: the password may cross the network unprotected")
    yield Line(OK, "pathology", f"every call has an address; kinds of slides: {', '.join(pathology.diseases)}")


def _fundus(settings: Settings) -> Iterator[Line]:
    from imaging.errors import NotConfigured
    from imaging.fundus.client import FundusClient
    from imaging.fundus.terms import AiType

    client, can = FundusClient(fundus_rules_of(settings)), []
    for ai_type in AiType:
        try:
            client.check(ai_type)
        except NotConfigured:
            continue
        can.append(str(int(ai_type)))
    if can:
        yield Line(OK, "fundus", f"credentials for ai_type {', '.join(can)}")
    else:
        yield Line(PROBLEM, "fundus", "no credentials", "Set FUNDUS_APPID and FUNDUS_TOKEN, or app_id_45 and token_45.")


def _retina(settings: Settings) -> Iterator[Line]:
    retina = settings.imaging.retina
    buckets = buckets_of(settings)
    if not retina.webhook_hosts or retina.webhook_secret is None:
        yield Line(
            PROBLEM, "retina", "no webhook: no request is taken", "Set imaging.retina.webhook_hosts and webhook_secret."
        )
    else:
        yield Line(OK, "retina", f"results may go to {', '.join(retina.webhook_hosts)}")
    if not buckets.names:
        yield Line(NOTE, "retina", "no bucket: images come by upload only")
    if retina.allow_http:
        yield Line(NOTE, "retina", "allow_http: pictures and results may cross the network unprotected")


def _ultrasound(settings: Settings) -> Iterator[Line]:
    """Its models are here: they are loaded and run once, as the daemon does."""
    from imaging.ultrasound.models import Ultrasound

    ultrasound_files_of(settings)
    engine, ultrasound = Ultrasound(ultrasound_rules_of(settings)), settings.imaging.ultrasound
    engine.load()
    served = [f"{dataset} ({task})" for task, dataset in engine.can()]
    yield Line(OK, "ultrasound", f"{len(served)} kinds of pictures, on {engine.provider}: {', '.join(served)}")
    for key, folder in (("upload_dir", ultrasound.upload_dir), ("output_dir", ultrasound.output_dir)):
        if line := unusable("ultrasound", folder, f"imaging.ultrasound.{key}"):
            yield line
    if ultrasound.data_dir is None:
        yield Line(NOTE, "ultrasound", "no data_dir: there are no random samples")
    elif not ultrasound.data_dir.is_dir():
        yield Line(
            PROBLEM,
            "ultrasound",
            f"imaging.ultrasound.data_dir: {ultrasound.data_dir}: no such folder",
            "Make it, or unset it.",
        )


async def _retina_answers(settings: Settings) -> Line:
    retina = retina_of(settings)
    try:
        await retina.check()
    finally:
        await retina.close()
    return Line(OK, "retina", "the model is there and ready")


def _buckets_answer(settings: Settings) -> Iterator[Line]:
    """Those that are used where a request names none."""
    retina, buckets = settings.imaging.retina, buckets_of(settings)
    named = {
        retina.bucket_store: (retina.input_bucket, retina.output_bucket),
        "azure": (
            retina.azure_input_bucket or retina.input_bucket,
            retina.azure_output_bucket or retina.output_bucket,
        ),
    }
    try:
        for store in buckets.names:
            for bucket in dict.fromkeys(name for name in named[store] if name):
                buckets.of(store).check(bucket)
                yield Line(OK, "retina", f"{buckets.of(store).name}: {bucket} is there")
    finally:
        buckets.close()


async def _pathology_answers(settings: Settings) -> Line:
    from imaging.pathology.client import Pathology

    username, password = settings.imaging.pathology.username, settings.imaging.pathology.password
    if username is None or password is None:
        return Line(NOTE, "pathology", "not asked: there is no user")
    async with Pathology(pathology_rules_of(settings)) as client:
        token = await client.login(username.get_secret_value(), password.get_secret_value(), datetime.now(UTC))
        await client.credentials(token.value)
    return Line(OK, "pathology", "logs in and gives keys for uploads")


async def _fundus_answers(settings: Settings) -> list[Line]:
    """A study that nobody sent: who knows our signature says that it has none."""
    from imaging.errors import NotConfigured
    from imaging.fundus.client import FundusClient
    from imaging.fundus.terms import AiType

    lines = []
    async with FundusClient(fundus_rules_of(settings)) as client:
        for ai_type in (AiType.ULTRA_WIDE, AiType.GLAUCOMA_AND_DISEASES):
            try:
                await client.was_received(_NOBODY, ai_type)
            except NotConfigured:
                continue
            lines.append(Line(OK, "fundus", f"takes our signature for {ai_type.label}"))
    return lines
