"""One attempt of a job, from its claim to its end: prepare, train, verify, publish."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TypeVar

from django.conf import settings
from django.db import connection

from inference_worker.telemetry.correlation import correlation_id
from tenants.outages import DATABASE_ERRORS, is_outage
from training.child_process import ROOT
from training.choices import JobPhase, RequestedAction
from training.engine import events
from training.jobs.failures import Failure, work_folder_failure
from training.models import FineTuningJob, JobCheckpoint
from training.publishing.errors import PublishingError
from training.queue import endings
from training.queue.attempts import AttemptFencedError
from training.queue.claim import Claim, others_wait
from training.supervisor import lease
from training.supervisor.celery_signals import DRAINING
from training.supervisor.folders import FolderBusyError, JobFolder, job_folder
from training.supervisor.orphans import trainer_record, trainer_record_remove
from training.supervisor.results.checkpoints import publish_checkpoint
from training.supervisor.results.finished_run import finished_run, finished_run_save
from training.supervisor.results.publication import publish, record_success
from training.supervisor.results.recording import events_record, phase_record
from training.supervisor.results.trainer_log import TrainerLog
from training.supervisor.trainer.diagnosis import SIGNAL_EFFECTS, failure_of_end
from training.supervisor.trainer.environment import trainer_command, trainer_environment
from training.supervisor.trainer.inputs import InputError
from training.supervisor.trainer.preparation import prepare
from training.supervisor.trainer.process import TrainerProcess
from training.supervisor.trainer.resumption import require_checkpoint

logger = logging.getLogger("cyllm.training")

T = TypeVar("T")
End = events.Stopped | events.Failed | events.Finished
ENDS = (events.Stopped, events.Failed, events.Finished)
EVENT_WAIT_S = 0.2
RETRY_S = 0.5
CANCEL_GRACE_S = 5.0
# An inference worker that restarts is back within this time.
PATIENCE_S, YIELD_CHECK_S = 300.0, 5.0
EXIT_GRACE_S = 10.0
KILLED = events.Stopped(step=0, checkpoint_step=None)
BUSY = Failure(
    code="worker_lost",
    message="Processes of an earlier attempt have not ended on the training worker.",
    is_transient=True,
)
INTERNAL = Failure(
    code="internal_error",
    message="The training worker has an internal error.",
    next_step="Ask the operator to look into the training worker's log.",
    is_transient=True,
)


class InterruptedAttemptError(Exception):
    """The attempt must end before its next phase: cancelled, paused, drained, or the lease is lost."""


class YieldedAttemptError(Exception):
    """The attempt waits for an inference worker, and another job waits for its place on this worker."""


class AttemptRun:
    """Runs one claimed attempt in the calling thread."""

    def __init__(self, claim: Claim, *, claimed_at: float) -> None:
        self._claim = claim
        self._process: TrainerProcess | None = None
        self._log = TrainerLog(claim.token)
        self._kill_at: float | None = None
        self._phase: JobPhase | None = None
        self._yield_check_at = 0.0
        self._is_stopping = False
        self._keeper = lease.LeaseKeeper(
            claim.token,
            lease_s=settings.CYLLM.training_lease_s,
            claimed_at=claimed_at,
            on_renewed=self._renew_trainer,
            on_lost=self._kill_trainer,
        )

    def run(self) -> None:
        """Run the attempt and record its outcome. Always ends its processes."""
        context = correlation_id.set(self._claim.correlation_id or "-")
        logger.info("%s: attempt %d", self._claim.job_id, self._claim.number)
        try:
            with self._keeper:
                self._record_end(self._run_guarded())
        except AttemptFencedError as error:
            logger.error("%s: attempt %d is abandoned: %s", self._claim.job_id, self._claim.number, error)
        finally:
            correlation_id.reset(context)

    def _record_end(self, record: Callable[[], None]) -> None:
        try:
            self._persist(record)
        except AttemptFencedError:
            raise
        except Exception:
            logger.exception("%s: the end can't be recorded", self._claim.job_id)
            self._persist(lambda: endings.attempt_fail(self._claim.token, INTERNAL))

    # ---- phases ----

    def _run_guarded(self) -> Callable[[], None]:
        """Run all phases; return what records the end."""
        token = self._claim.token
        try:
            return self._run_phases()
        except InterruptedAttemptError:
            return lambda: endings.attempt_stop(token)
        except YieldedAttemptError:
            return lambda: endings.attempt_yield(token)
        except (InputError, PublishingError) as error:
            failure = error.failure
        except FolderBusyError:
            failure = BUSY
        except AttemptFencedError:
            raise
        except OSError as error:
            logger.exception("%s: the supervisor failed", self._claim.job_id)
            failure = work_folder_failure(error) or INTERNAL
        except Exception:
            logger.exception("%s: the supervisor failed", self._claim.job_id)
            failure = INTERNAL
        return lambda: endings.attempt_fail(token, failure)

    def _run_phases(self) -> Callable[[], None]:
        token = self._claim.token
        jobs = FineTuningJob.objects.select_related("tenant", "source_checkpoint__job")
        job = self._persist(lambda: jobs.get(id=self._claim.job_id))
        if job.source_checkpoint is not None:
            return self._publish_checkpoint(job, job.source_checkpoint)
        folder = job_folder(job.id)
        with ExitStack() as stack:
            descriptor = stack.enter_context(folder.lock(settings.CYLLM.training_lease_s))
            end = finished_run(folder) or self._run_trainer(job, folder, descriptor)
        if isinstance(end, events.Stopped):
            return lambda: endings.attempt_stop(token)
        if isinstance(end, Failure):
            failure = end
            return lambda: endings.attempt_fail(token, failure)
        self._persist(job.refresh_from_db)
        success = publish(job, token, end, report_phase=self.report_phase, persist=self._persist)
        return lambda: record_success(token, success)

    def _run_trainer(
        self, job: FineTuningJob, folder: JobFolder, descriptor: int
    ) -> events.Stopped | events.Finished | Failure:
        require_checkpoint(job, folder, self._persist)
        spec = prepare(
            self._claim.token, job, self._claim.number, folder, check=self.check, persist=self._persist
        )
        end = self._train(folder, spec.threads, descriptor)
        if isinstance(end, events.Finished):
            finished_run_save(folder, end)
        return end

    def _publish_checkpoint(self, job: FineTuningJob, checkpoint: JobCheckpoint) -> Callable[[], None]:
        self.check()
        success = publish_checkpoint(job, checkpoint, report_phase=self.report_phase)
        return lambda: record_success(self._claim.token, success)

    def _train(
        self, folder: JobFolder, threads: int | None, descriptor: int
    ) -> events.Stopped | events.Finished | Failure:
        self.check()
        environment = trainer_environment(threads, os.environ)
        process = TrainerProcess(trainer_command(folder.spec), environment, ROOT, descriptor)
        self._process = process
        try:
            trainer_record(folder.path, process.pid)
            self._renew_trainer()
            end = self._follow(process)
            code = process.exit_code()
        finally:
            process.close()
            trainer_record_remove(folder.path)
        if self._keeper.is_lost:
            raise AttemptFencedError("the lease is lost")
        self._store_log(process, is_last=True)
        if isinstance(end, events.Finished):
            return end
        # Without a request, torchrun stopped it, because another process of the run had died.
        if isinstance(end, events.Stopped) and (code == 0 or self._is_stopping or self._must_stop()):
            return end
        if end is None and self._kill_at is not None:  # killed here: a cancelled trainer took too long
            return KILLED
        self._log_stderr(process)
        failure = failure_of_end(end, code, process.rank_exit_code)
        # The signal that stops the worker may reach the trainer too, before it can handle it.
        return KILLED if DRAINING.is_set() and failure.code in SIGNAL_EFFECTS else failure

    def _follow(self, process: TrainerProcess) -> End | None:
        """Record events until the trainer has ended. Returns the event of its end, None if it sent none."""
        end: End | None = None
        exit_by: float | None = None
        while not self._keeper.is_lost:
            batch = process.next_events(EVENT_WAIT_S)
            if not batch and process.has_ended():
                break
            self._record([event for event in batch if not isinstance(event, ENDS)])
            for event in batch:
                if isinstance(event, ENDS) and end is None:
                    # Of several processes, the first one to fail names the cause: the others fail without it.
                    end, exit_by = event, time.monotonic() + EXIT_GRACE_S
            self._forward_requests(process)
            self._store_log(process)
            if exit_by is not None and time.monotonic() > exit_by:
                break
        return end

    def _record(self, batch: Sequence[events.TrainerEvent]) -> None:
        if batch:
            self._persist(lambda: events_record(self._claim.token, *batch))

    # ---- requests ----

    def check(self) -> None:
        """Raise InterruptedAttemptError if the attempt has to end, AttemptFencedError if it may not act."""
        if self._keeper.is_lost:
            raise AttemptFencedError("the lease is lost")
        if self._must_stop():
            raise InterruptedAttemptError

    def _must_stop(self) -> bool:
        return DRAINING.is_set() or self._keeper.action != RequestedAction.NONE

    def report_phase(self, phase: JobPhase) -> None:
        """Record the phase if it is new. Call it at least each second of a wait: it raises to interrupt."""
        self.check()
        if phase != self._phase:
            self._persist(lambda: phase_record(self._claim.token, phase))
            self._phase = phase
            if phase == JobPhase.WAITING_FOR_WORKER:
                self._yield_check_at = time.monotonic() + self._patience_s()
        elif phase == JobPhase.WAITING_FOR_WORKER and self._should_yield():
            raise YieldedAttemptError

    def _patience_s(self) -> float:
        has_yielded = self._persist(lambda: endings.has_yielded(self._claim.token))
        return YIELD_CHECK_S if has_yielded else PATIENCE_S

    def _should_yield(self) -> bool:
        """Return whether another job waits for this one's place, after some patience."""
        if time.monotonic() < self._yield_check_at:
            return False
        self._yield_check_at = time.monotonic() + YIELD_CHECK_S
        return self._persist(lambda: others_wait(self._claim.token))

    def _forward_requests(self, process: TrainerProcess) -> None:
        action = self._keeper.action
        if action == RequestedAction.CANCEL and self._kill_at is None:
            process.send(events.Stop(is_saved=False))
            self._kill_at = time.monotonic() + CANCEL_GRACE_S
        elif self._must_stop() and not self._is_stopping:
            process.send(events.Stop(is_saved=True))
            self._is_stopping = True
        if self._kill_at is not None and time.monotonic() > self._kill_at:
            process.kill()

    def _renew_trainer(self) -> None:
        if self._process is not None:
            self._process.send(events.Renew())

    def _kill_trainer(self) -> None:
        if self._process is not None:
            self._process.kill()

    # ---- the database ----

    def _persist(self, operation: Callable[[], T]) -> T:
        """Run a database operation, again and again during an outage, as long as the lease allows."""
        while True:
            try:
                return operation()
            except DATABASE_ERRORS as error:
                if not is_outage(error):
                    raise
                logger.warning("the database is unavailable: %s", type(error).__name__)
                connection.close()
                if self._keeper.is_lost:
                    raise AttemptFencedError("the lease ended during a database outage") from error
                time.sleep(RETRY_S)

    def _store_log(self, process: TrainerProcess, *, is_last: bool = False) -> None:
        lines = list(process.stderr_tail.copy())
        self._persist(lambda: self._log.store(lines, is_last=is_last))

    def _log_stderr(self, process: TrainerProcess) -> None:
        if process.stderr_tail:
            logger.warning(
                "%s: the trainer's last output:\n%s", self._claim.job_id, "\n".join(process.stderr_tail)
            )
