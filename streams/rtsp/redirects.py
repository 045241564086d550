"""Where a redirect may lead: the password goes to no other host, and never from TLS to none."""

from streams.address import NETWORK_SCHEMES, Door, door_of, redacted, scheme_of
from streams.errors import StreamMoved, StreamRefused
from streams.rtsp.message import Response
from streams.rtsp.sdp import resolved

REDIRECTS_MAX = 3
MOVED = (301, 302, 303, 305, 307, 308)
_SHOWN_MAX = 200


class Moved(Exception):
    """The camera is to be asked at another door of the same host."""

    def __init__(self, door: Door) -> None:
        self.door = door


def followed(response: Response, door: Door, *, configured: str, peer: str, address: str) -> Moved:
    """The door that a redirect leads to. Raises StreamMoved where that is not to be followed.

    door: who answered. configured: the host of the configuration. peer: the address that it turned out to have.
    """
    location = response.get("location")
    if not location:
        raise StreamRefused(f"{address}: it answered {response.status} without saying where to")
    target = resolved(door.plain_url, location)
    shown = redacted(target)[:_SHOWN_MAX]
    if scheme_of(target) not in NETWORK_SCHEMES:
        raise StreamMoved(f"{address}: redirects to {shown}, which is no RTSP")
    try:
        found = door_of(target)
    except ValueError:
        raise StreamMoved(f"{address}: redirects to an address that is none") from None
    if found.host.lower() not in (configured.lower(), peer):
        raise StreamMoved(f"{address}: redirects to another host, {shown}")
    if door.scheme == "rtsps" and found.scheme != "rtsps":
        raise StreamMoved(f"{address}: redirects from rtsps to {shown}, which is not encrypted")
    return Moved(found)
