"""What `orwatch check` looks at of the fundus back end, and asks it."""

import asyncio
from collections.abc import Iterator

from daemon.cli.lines import OK, PROBLEM, Line
from daemon.config import Settings
from daemon.imaging.fundus.setup import fundus_rules_of

_NOBODY = "orwatch-check"


def looked_at(settings: Settings) -> Iterator[Line]:
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


def answered(settings: Settings) -> Iterator[Line]:
    yield from asyncio.run(_signatures_taken(settings))


async def _signatures_taken(settings: Settings) -> list[Line]:
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
