"""What `orwatch check` looks at of the pathology back end, and asks it."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

from daemon.cli.lines import NOTE, OK, PROBLEM, Line
from daemon.config import Settings
from daemon.imaging.pathology.setup import pathology_rules_of


def looked_at(settings: Settings) -> Iterator[Line]:
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


def answered(settings: Settings) -> Iterator[Line]:
    yield asyncio.run(_logged_in(settings))


async def _logged_in(settings: Settings) -> Line:
    from imaging.pathology.client import Pathology

    username, password = settings.imaging.pathology.username, settings.imaging.pathology.password
    if username is None or password is None:
        return Line(NOTE, "pathology", "not asked: there is no user")
    async with Pathology(pathology_rules_of(settings)) as client:
        token = await client.login(username.get_secret_value(), password.get_secret_value(), datetime.now(UTC))
        await client.credentials(token.value)
    return Line(OK, "pathology", "logs in and gives keys for uploads")
