"""A trainer without a model. Its training file is one JSON object that says how it behaves.

``steps``, ``step_s``, ``checkpoint_steps``; ``ignores_stop``; ``helpers``: processes that it starts;
``exit_at``: {step: exit code, negative for a signal}; ``stops_at``: {step: exit code}, a stop nobody wants,
``exit_s`` before the end; ``stop_code``: exit code after a requested stop; ``failed_at``: {step: fields of
each Failed}; ``last_words``: its log before these; ``junk``: prints lines that are no events; ``prepare_s``:
time before it reads anything.
It appends a line to ``trace`` in its folder for each start and step.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from training.engine import events
from training.engine.checkpoints.manifest import folder_name
from training.engine.spec import TrainingSpec

EVALUATION = events.Evaluation(step=0, loss=2.0, perplexity=7.4, token_accuracy=0.5, is_best=False)


class Trainer:
    """State of one run."""

    def __init__(self, spec: TrainingSpec, script: dict[str, Any]) -> None:
        self.spec, self.script = spec, script
        self.folder = Path(spec.work_dir)
        self.stop: events.Stop | None = None
        self.renewed_at = time.monotonic()

    def run(self) -> None:
        """Run the script."""
        self.trace("start", os.getpid())
        self.record_environment()
        for _ in range(self.script.get("helpers", 0)):
            code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
            helper = subprocess.Popen([sys.executable, "-c", code])
            self.trace("helper", helper.pid)
        for target in (self.read_controls, self.watch_lease):
            threading.Thread(target=target, daemon=True).start()
        if self.script.get("junk"):
            os.write(1, b"Loading: 100%\r\xff\xfe\n{}\n" + b"x" * 3_000_000 + b"\n\n")
            os.write(1, b'{"type":' + b"[" * 5000 + b"\n")
            choice = events.Choice(subject="a", value="b", reason="c\0")
            evaluation = events.Evaluation(step=-1, loss=1, perplexity=1, token_accuracy=1, is_best=True)
            os.write(1, events.encode(choice) + events.encode(evaluation))
        self.train()

    def train(self) -> None:
        """Take the steps that no earlier attempt has saved."""
        steps, start = int(self.script.get("steps", 3)), self.checkpoint()
        send(
            events.Prepared(
                examples=10,
                tokens=100,
                trained_tokens=50,
                truncated=0,
                dropped=0,
                total_steps=steps,
                start_step=start,
            )
        )
        for step in range(start + 1, steps + 1):
            time.sleep(self.script.get("step_s", 0.0))
            self.end_as_scripted(step)
            self.trace("step", step)
            send(progress(step, steps))
            if step % self.script.get("checkpoint_steps", 5) == 0:
                self.save(step)
            if self.stop is not None and not self.script.get("ignores_stop"):
                checkpoint_name = self.save(step) if self.stop.is_saved else None
                send(events.Stopped(step=step, checkpoint_step=checkpoint_name))
                os._exit(self.script.get("stop_code", 0))
        send(
            events.Finished(
                step=steps,
                reason="completed",
                result_dir=str(self.folder / "result"),
                trained_tokens=50 * steps,
                evaluated_on="training",
                base=EVALUATION,
                result=EVALUATION,
                probe_prompts=((1, 2),),
            )
        )

    def end_as_scripted(self, step: int) -> None:
        """Exit or fail if the script says so."""
        if (code := self.script.get("exit_at", {}).get(str(step))) is not None:
            print("last words", file=sys.stderr, flush=True)
            if code < 0:
                os.kill(os.getpid(), -code)
                time.sleep(10)
            os._exit(code)
        if (code := self.script.get("stops_at", {}).get(str(step))) is not None:
            send(events.Stopped(step=step, checkpoint_step=None))
            time.sleep(self.script.get("exit_s", 0.0))
            os._exit(code)
        if failures := self.script.get("failed_at", {}).get(str(step)):
            print(self.script.get("last_words", ""), file=sys.stderr, flush=True)
            for fields in failures:
                send(events.Failed(step=step, checkpoint_step=None, **fields))
            os._exit(1)

    def checkpoint(self) -> int:
        """Return the step of the newest checkpoint."""
        path = self.folder / "saved_step"
        return int(path.read_text()) if path.exists() else 0

    def save(self, step: int) -> int:
        """Save the step."""
        part = self.folder / "saved_step.part"
        part.write_text(str(step))
        part.replace(self.folder / "saved_step")
        (self.folder / "checkpoints" / folder_name(step)).mkdir(parents=True, exist_ok=True)
        send(
            events.CheckpointSaved(
                step=step,
                folder=folder_name(step),
                train_loss=1.0,
                train_token_accuracy=0.5,
                valid_loss=None,
                valid_token_accuracy=None,
                is_best=False,
            )
        )
        return step

    def read_controls(self) -> None:
        """Read control messages until the standard input ends."""
        rest = b""
        while data := os.read(0, 65_536):
            *lines, rest = (rest + data).split(b"\n")
            for message in map(events.decode_control, lines):
                self.renewed_at = time.monotonic()
                if isinstance(message, events.Stop):
                    self.stop = message
        os._exit(75)

    def watch_lease(self) -> None:
        """Exit without a renewal in time."""
        while time.monotonic() - self.renewed_at < self.spec.lease_s:
            time.sleep(0.05)
        os._exit(75)

    def trace(self, word: str, number: int) -> None:
        """Append a line to the trace."""
        with (self.folder / "trace").open("a") as trace:
            trace.write(f"{self.spec.attempt} {time.time():.3f} {word} {number}\n")

    def record_environment(self) -> None:
        """Write what this process was started with."""
        facts = {"environment": dict(os.environ), "niceness": os.nice(0), "session": os.getsid(0)}
        (self.folder / "facts.json").write_text(json.dumps(facts))


def progress(step: int, steps: int) -> events.Progress:
    """Return a progress event."""
    return events.Progress(
        step=step,
        total_steps=steps,
        epoch=step / steps,
        loss=1.0 / step,
        learning_rate=1e-4,
        grad_norm=1.0,
        token_accuracy=0.5,
        trained_tokens=50 * step,
        tokens_per_s=100.0,
        samples_per_s=1.0,
        elapsed_s=0.1 * step,
        eta_s=0.1 * (steps - step),
        memory_bytes=1,
    )


def send(event: events.TrainerEvent) -> None:
    """Write an event."""
    os.write(1, events.encode(event))


def main() -> None:
    """Run the specification named by the last argument."""
    spec = msgspec.json.decode(Path(sys.argv[-1]).read_bytes(), type=TrainingSpec)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    script = json.loads(Path(spec.training_file).read_text())
    time.sleep(script.get("prepare_s", 0.0))
    Trainer(spec, script).run()


if __name__ == "__main__":
    main()
