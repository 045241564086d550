"""An answer that cannot be kept: refused where the site has an object server, taken where it has a folder."""

import io
import wave
from pathlib import Path

import pytest

from daemon.domain.catalogue import Catalogue
from daemon.domain.errors import AnswerNotKept, Refused, VoiceNoSpeech
from daemon.metrics import Metrics
from daemon.services.answers import AnswerRules, Answers, Recorded
from daemon.storage.database import Unit
from daemon.storage.objects import FolderStore
from speech.chain import Ear
from tests import rules
from tests.daemon.rows import at, saved, surgery
from tests.daemon.services.test_objects import objects_on
from tests.daemon.services.test_settle import asked


def silence() -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(bytes(32_000))
    return file.getvalue()


@pytest.mark.parametrize(("has_object_server", "refused"), [(True, AnswerNotKept), (False, VoiceNoSpeech)])
async def test_an_answer_that_cannot_be_kept_is_refused_where_there_is_an_object_server(
    unit: Unit, tmp_path: Path, has_object_server: bool, refused: type[Refused]
) -> None:
    run = await saved(unit, surgery())
    question = await asked(unit, run)
    objects, _ = objects_on(unit, FolderStore(tmp_path / "objects"), tmp_path, spool_max=3)
    ear = Ear([], rules.breaker(), on_change=lambda name, is_ok, why: None)
    keeping = AnswerRules(audio=rules.audio(), retries_max=3, has_object_server=has_object_server)
    answers = Answers(unit, ear, objects, Catalogue(), Metrics(), keeping)
    recorded = Recorded(filename="answer.wav", content=silence())
    with pytest.raises(refused):
        await answers.resolve(run.surgery_id, str(question), recorded, "D1001", lambda: at(30))
    async with unit.read() as tx:
        kept = await tx.confirmations.get(run.id, question)
    assert kept is not None
    assert kept.is_open
