"""What `orwatch check` looks at of the retina back end, and asks its model and its buckets."""

import asyncio
from collections.abc import Iterator

from daemon.cli.lines import NOTE, OK, PROBLEM, Line
from daemon.config import Settings
from daemon.imaging.retina.setup import buckets_of, retina_of


def looked_at(settings: Settings) -> Iterator[Line]:
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


def model_answered(settings: Settings) -> Iterator[Line]:
    yield asyncio.run(_model(settings))


def buckets_answered(settings: Settings) -> Iterator[Line]:
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


async def _model(settings: Settings) -> Line:
    retina = retina_of(settings)
    try:
        await retina.check()
    finally:
        await retina.close()
    return Line(OK, "retina", "the model is there and ready")
