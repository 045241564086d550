"""What a webhook is told of a job of the retina back end that has ended."""

import json

from daemon.domain.imaging import Job, JobState


def notice(job: Job) -> str:
    """One line of JSON, in the seed's words."""
    is_done = job.state is JobState.DONE
    result = dict(job.result or {})
    told = {
        "request_uuid": str(job.id),
        "examination_id": job.inputs.get("examination_id"),
        "filename": job.inputs.get("filename"),
        "status": "success" if is_done else "error",
        "result_path": result.pop("result_path", None),
        "result": result if is_done else None,
        "error": None if is_done else {"code": job.error or job.state.name, "message": job.message},
        "finished_at": job.ended_at.isoformat() if job.ended_at else None,
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
