"""The facts that the verbs make true, each made in one way from what it is about."""

from datetime import datetime

from daemon.domain.catalogue import Item
from daemon.domain.confirmation import Confirmation
from daemon.domain.facts import AboutCamera, AboutItem, AboutObject, Fact, FactKind, Posted, Seen
from daemon.domain.ledger import Posting
from daemon.domain.objects import KeptObject, ObjectState
from daemon.domain.sighting import Outcome, SettledSighting
from daemon.domain.surgery import Surgery

_OF_AN_OBJECT = {
    ObjectState.STORED: FactKind.OBJECT_STORED,
    ObjectState.LOST: FactKind.OBJECT_LOST,
    ObjectState.EXPIRED: FactKind.OBJECT_EXPIRED,
}


def of_the_surgery(kind: FactKind, run: Surgery, now: datetime) -> Fact:
    """SURGERY_STARTED, SURGERY_RESUMED, SURGERY_ENDED."""
    return _fact(kind, run, now, None)


def not_counted(run: Surgery, sighting: SettledSighting, item: Item) -> Fact:
    """IGNORED or MERGED, with the reason."""
    kind = FactKind.MERGED if sighting.outcome is Outcome.MERGED else FactKind.IGNORED
    about = AboutItem(item=item, timestamp=sighting.started_at, reason=sighting.reason, seen=_seen(sighting))
    return _fact(kind, run, sighting.decided_at, about)


def posted(
    kind: FactKind, run: Surgery, posting: Posting, sighting: SettledSighting | None, *, evidence: str = ""
) -> Fact:
    """BOOKED, CONFIRMED, REJECTED, VOIDED. sighting: None where nobody saw it."""
    about = AboutItem(
        item=posting.item,
        timestamp=posting.timestamp,
        reason=posting.reason or "",
        seen=_seen(sighting) if sighting else None,
        posted=Posted(
            posting_id=posting.id,
            # The void of a no ends a placeholder, which counted nothing.
            qty=0 if kind is FactKind.REJECTED else posting.qty,
            doctor_id=posting.doctor_id,
            # An answer voids its placeholder, which nobody was told of as a posting.
            voids=posting.voids if kind is FactKind.VOIDED else None,
        ),
        confirmation_id=posting.confirmation_id,
        evidence=evidence,
    )
    return _fact(kind, run, posting.posted_at, about)


def asked(
    run: Surgery, question: Confirmation, placeholder: Posting, sighting: SettledSighting, *, evidence: str
) -> Fact:
    about = AboutItem(
        item=placeholder.item,
        timestamp=placeholder.timestamp,
        reason=sighting.reason,
        seen=_seen(sighting),
        # It counts nothing, and nobody has answered for it.
        posted=Posted(posting_id=placeholder.id),
        confirmation_id=question.id,
        evidence=evidence,
    )
    return _fact(FactKind.ASKED, run, placeholder.posted_at, about)


def unresolved(run: Surgery, question: Confirmation, sighting: SettledSighting, now: datetime) -> Fact:
    about = AboutItem(
        item=question.options[0].item,
        timestamp=sighting.started_at,
        seen=_seen(sighting),
        confirmation_id=question.id,
    )
    return _fact(FactKind.UNRESOLVED, run, now, about)


def of_object(run: Surgery, kept: KeptObject) -> Fact:
    """OBJECT_STORED, OBJECT_LOST, OBJECT_EXPIRED: how it is now."""
    about = AboutObject(key=kept.key, why=kept.why, sighting_id=kept.sighting_id, confirmation_id=kept.confirmation_id)
    return _fact(_OF_AN_OBJECT[kept.state], run, kept.changed_at, about)


def of_camera(run: Surgery, camera: str, why: str, at: datetime) -> Fact:
    """CAMERA_BLIND, or with an empty why CAMERA_SEES."""
    kind = FactKind.CAMERA_BLIND if why else FactKind.CAMERA_SEES
    return _fact(kind, run, at, AboutCamera(camera=camera, why=why))


def _seen(sighting: SettledSighting) -> Seen:
    return Seen(sighting_id=sighting.id, camera=sighting.camera, top=sighting.top)


def _fact(kind: FactKind, run: Surgery, at: datetime, about: AboutItem | AboutObject | AboutCamera | None) -> Fact:
    return Fact(kind=kind, run_id=run.id, surgery_id=run.surgery_id, at=at, about=about)
