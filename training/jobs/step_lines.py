"""The examples of an optimizer step: the lines of the training file that it was trained on."""

from __future__ import annotations

from training.datasets.tokens.sample_lines import lines_of, unpack_differences
from training.datasets.tokens.step_samples import step_samples
from training.models import FineTuningJob, JobSampleLines


def step_lines(job: FineTuningJob, step: int) -> list[int] | None:
    """Return the lines of a step's samples, counted from 1 like steps, in ascending order.

    A line is repeated for each of its samples. None if the job doesn't have them: its data is not prepared
    yet, or was before lines were recorded. One query.
    """
    rows = JobSampleLines.objects.filter(job=job).order_by("job_id").values_list("packed", flat=True)
    packed, batch_size = rows.first(), job.resolved.get("batch_size")
    if packed is None or batch_size is None:
        return None
    differences = unpack_differences(bytes(packed))
    samples = step_samples(seed=job.seed, count=len(differences), batch_size=int(batch_size), step=step - 1)
    return lines_of(differences, samples)
