"""What `orwatch check` looks at of the imaging back ends that are configured; of the others it says nothing."""

from collections.abc import Iterator
from datetime import UTC, datetime

from daemon.assembly.imaging import fundus_rules_of, pathology_rules_of
from daemon.assembly.imaging_jobs import is_configured
from daemon.cli.checks import NOTE, OK, PROBLEM, Line, gathered, unusable
from daemon.config import Settings
from daemon.domain.imaging import JobKind

_NOBODY = "orwatch-check"


def check_imaging(settings: Settings) -> list[Line]:
    """All that can be seen without connecting to anything."""
    kinds = [kind for kind in JobKind if is_configured(settings, kind)]
    if not kinds:
        return []
    lines = gathered("imaging", lambda: _folders(settings))
    if JobKind.PATHOLOGY in kinds:
        lines += gathered("pathology", lambda: _pathology(settings))
    if JobKind.FUNDUS in kinds:
        lines += gathered("fundus", lambda: _fundus(settings))
    return lines


def check_imaging_servers(settings: Settings) -> list[Line]:
    """Log in and ask for something that leaves nothing behind."""
    import asyncio

    lines: list[Line] = []
    if is_configured(settings, JobKind.PATHOLOGY):
        lines += gathered("pathology", lambda: iter([asyncio.run(_pathology_answers(settings))]))
    if is_configured(settings, JobKind.FUNDUS):
        lines += gathered("fundus", lambda: iter(asyncio.run(_fundus_answers(settings))))
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
    from inference.imaging.errors import NotConfigured
    from inference.imaging.fundus import FundusClient
    from inference.imaging.fundus_terms import AiType

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


async def _pathology_answers(settings: Settings) -> Line:
    from inference.imaging.pathology import Pathology

    username, password = settings.imaging.pathology.username, settings.imaging.pathology.password
    if username is None or password is None:
        return Line(NOTE, "pathology", "not asked: there is no user")
    async with Pathology(pathology_rules_of(settings)) as client:
        token = await client.login(username.get_secret_value(), password.get_secret_value(), datetime.now(UTC))
        await client.credentials(token.value)
    return Line(OK, "pathology", "logs in and gives keys for uploads")


async def _fundus_answers(settings: Settings) -> list[Line]:
    """A study that nobody sent: who knows our signature says that it has none."""
    from inference.imaging.errors import NotConfigured
    from inference.imaging.fundus import FundusClient
    from inference.imaging.fundus_terms import AiType

    lines = []
    async with FundusClient(fundus_rules_of(settings)) as client:
        for ai_type in (AiType.ULTRA_WIDE, AiType.GLAUCOMA_AND_DISEASES):
            try:
                await client.was_received(_NOBODY, ai_type)
            except NotConfigured:
                continue
            lines.append(Line(OK, "fundus", f"takes our signature for {ai_type.label}"))
    return lines
