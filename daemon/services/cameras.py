"""What the services need of the cameras; the pipeline provides it."""

from typing import Protocol
from uuid import UUID

from daemon.domain.catalogue import Candidates
from daemon.domain.surgery import Surgery


class CamerasFailed(Exception):
    """At least one camera of a surgery gave no first frame in time that was classified.

    reasons: camera -> why, free of credentials. is_final: trying again at once cannot help (a refused password, a
    wrong path) and may lock the account of the camera.
    """

    def __init__(self, reasons: dict[str, str], *, is_final: bool = False) -> None:
        super().__init__("; ".join(f"{camera}: {why}" for camera, why in reasons.items()))
        self.reasons = reasons
        self.is_final = is_final


class Cameras(Protocol):
    def unknown(self, cameras: tuple[str, ...]) -> tuple[str, ...]:
        """Those that the site does not have."""

    def is_open(self, run_id: UUID) -> bool:
        """Whether the cameras of this run are kept connected."""

    async def open(self, surgery: Surgery, *, timeout_s: float) -> None:
        """Connect every camera and wait until a first frame of it is classified.

        Raises CamerasFailed; then nothing is left running.
        """

    def watch(self, surgery: Surgery, candidates: Candidates, *, resumed: bool) -> None:
        """Begin to turn what the open cameras show into observations.

        resumed: what is in view at once may have been observed before the interruption.
        """

    async def close(self, run_id: UUID) -> None:
        """Decide what is still open, then stop the cameras. Returns when nothing of the run is left running."""

    async def open_again(self, surgery: Surgery) -> None:
        """After a restart: bring the cameras up in their own time, without waiting for a first frame."""
