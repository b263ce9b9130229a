"""The one training loop, for both kinds of stage."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sdabn_cli import data, journal, networks
from sdabn_cli.averaging import WeightAverage
from sdabn_cli.cascade import Frozen
from sdabn_cli.errors import NotFinite, SdabnError, Stopped
from sdabn_cli.finiteness import Finiteness
from sdabn_cli.job import Training
from sdabn_cli.optimization import build_optimizer, learning_rate
from sdabn_cli.randomness import seed_from
from sdabn_cli.recording import RecordedStep
from sdabn_cli.schedule import Stage
from sdabn_cli.stopping import Judge, Signals
from sdabn_cli.tasks import task_of
from sdabn_cli.tensorboard import Events
from sdabn_cli.validation import METRIC, Validation


class StageLoop:
    """Trains one stage: feeds, optimises, logs, validates, saves.

    Args:
        training: What the stages share.
        stage: The stage to train.
        network: Its network, on the device.
        prefix: The frozen stages in front of it, on the device.
        critic: A frozen clean segmenter that judges estimates, on the device; None for none.

    Attributes:
        step: Optimiser steps done.
    """

    def __init__(
        self,
        training: Training,
        stage: Stage,
        network: nn.Module,
        prefix: Frozen,
        critic: nn.Module | None = None,
    ) -> None:
        self.step = 0
        self._training, self._stage = training, stage
        self._settings = training.recipe.for_stage(stage)
        self._compute, self._processes = training.compute, training.compute.processes
        if self._processes.count > 1:
            from sdabn_cli.batchnorm import synchronized  # imports timm

            network = synchronized(network, self._compute.device)
        self._network = network
        self._wrapped: nn.Module | None = None  # until a batch shows which parameters take part
        self._recorded: RecordedStep | None = None
        on_one_gpu = self._compute.device.type == "cuda" and self._processes.count == 1
        if training.recipe.cuda_graphs and on_one_gpu:
            self._recorded = RecordedStep(network)
        self._optimizer = build_optimizer(network, self._settings)
        self._average = WeightAverage(network, self._settings.ema) if self._settings.ema else None
        self._task = task_of(stage, self._settings, prefix, training.compute, critic)
        self._validation = Validation(training, stage, network, prefix)
        self._directory = training.run.stage(stage)
        self._samples = data.TrainingSamples(
            training.train,
            data.Augmentation.of(self._settings),
            training.noise_of(stage),
            key=(training.recipe.seed, stage.id),
        )
        self._finiteness = Finiteness(
            stage, self._settings, self._samples, network, self._optimizer
        )
        self._judge = Judge()
        self._signals = Signals(insist=self._processes.count == 1)
        self._events: Events | None = None
        self._began = time.perf_counter()
        self._losses: list[Tensor] = []
        self._lap_loss, self._lap_step = 0.0, 0  # since the last log, whoever began it
        self._start_clock()

    @property
    def seconds(self) -> float:
        """Time spent on this stage, earlier starts included."""
        return time.perf_counter() - self._began

    def resume(self) -> None:
        """Load the newest readable state, if there is one."""
        if not self._processes.is_main:
            self._processes.wait()  # the main process removes damaged states
        state, warnings = self._directory.load_state()
        for warning in warnings:
            self._training.watcher.warn(warning)
        if state is not None:
            self._take(state)
            self.step = state["step"]
            self._judge = Judge(**state["judge"])
            self._lap_loss, self._lap_step = state["lap_loss"], state["lap_step"]
            self._began -= state["seconds"]
            self._judge_again()
        if self._processes.is_main:
            self._directory.rewind_log(self.step)
            self._processes.wait()

    def _take(self, state: Mapping[str, Any]) -> None:
        try:
            self._network.load_state_dict(state["network"])
            self._optimizer.load_state_dict(state["optimizer"])
            if self._average is not None:
                self._average.load_state_dict(state["average"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SdabnError(
                f"The training state in {self._directory.path} is of another network or "
                f"optimiser: {error}",
                "With the plug-in that it was trained with the same command goes on; without "
                f"that directory {self._stage.id} begins again.",
            ) from error

    def _judge_again(self) -> None:
        """States are saved before a validation; one that was completed is not repeated."""
        for entry in self._directory.read_log():
            if entry["step"] == self.step and "validation" in entry:
                figure = journal.figure(entry, "validation", METRIC[self._stage.kind])
                self._judge.judge(self.step, math.nan if figure is None else figure)
                return

    def run(self) -> None:
        """Do the steps that are left.

        Raises:
            SdabnError: If the network fails, it no longer computes numbers or a file cannot be
                written; the last good state is kept.
            Stopped: At SIGTERM or SIGINT, once the state is saved.
        """
        settings, watcher = self._settings, self._training.watcher
        watcher.start(self._stage, step=self.step, steps=settings.steps)
        with self._signals, self._open_events():
            self._network.train()
            self._start_clock()
            if self.step and self._validates and self._judge.judged_step < self.step:
                self._validate()  # it was cut short
            batches = self._batches()
            while not self._is_over:
                self._losses.append(self._optimise(self._next(batches)))
                self.step += 1
                watcher.advance(self.step, self._log() if self._logs else None)
                if self._saves or self._validates:
                    self._save()
                self._obey_signals()
                if self._validates:
                    self._validate()

    def finish(self) -> None:
        """Write the finished weights.

        Raises:
            SdabnError: If they are no longer numbers, or cannot be written.
        """
        self._finiteness.require_network(self.step)
        if self._judge.best_step == self.step:
            self._directory.drop_best()
        with self._averaged():
            weights = networks.weights_of(self._network)
        self._directory.finish(weights, hand_on=self._settings.finish_with)

    @property
    def _is_last(self) -> bool:
        return self.step == self._settings.steps

    @property
    def _is_over(self) -> bool:
        return self._is_last or self._judge.has_lost_patience(self._settings.patience)

    @property
    def _logs(self) -> bool:
        return self._is_last or self._is_due(self._settings.log_every)

    @property
    def _saves(self) -> bool:
        return self._is_due(self._settings.save_every)

    @property
    def _validates(self) -> bool:
        return self._is_last or self._is_due(self._settings.validate_every)

    def _is_due(self, every: int | None) -> bool:
        return every is not None and self.step % every == 0

    def _open_events(self) -> contextlib.AbstractContextManager[object]:
        if not (self._training.recipe.tensorboard and self._processes.is_main):
            return contextlib.nullcontext()
        self._events = Events(
            self._directory.path / "tensorboard",
            first_step=self.step + 1,
            warn=self._training.watcher.warn,
        )
        return contextlib.closing(self._events)

    def _batches(self) -> Iterator[data.Sample]:
        return data.batches(
            self._samples,
            first_step=self.step,
            last_step=self._settings.steps,
            batch_size=self._settings.batch_size,
            workers=self._training.recipe.data.workers,
            pin_memory=self._compute.device.type == "cuda",
            process=self._processes.index,
            processes=self._processes.count,
        )

    def _next(self, batches: Iterator[data.Sample]) -> data.Sample:
        began = time.perf_counter()
        batch = next(batches)
        self._data_wait += time.perf_counter() - began
        return data.Sample(*(self._compute.send(tensor) for tensor in batch))

    def _optimise(self, batch: data.Sample) -> Tensor:
        """Do one step; returns this process's share of the loss, times the processes."""
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._settings, self.step)
        try:
            if self._wrapped is None:
                self._wrapped = self._processes.wrap(self._network, lambda: self._trial(batch))
            # Dropout follows from the step too, or a resumed run would differ.
            key = [self._training.recipe.seed, self._stage.id, "step", self.step]
            torch.manual_seed(
                seed_from(*key, *([self._processes.index] if self._processes.index else []))
            )
            if self._recorded is None:
                loss = self._backward(batch)
            else:
                loss = self._recorded(self._backward, batch)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:  # anyone's network
            raise SdabnError(
                f"The network of {self._stage.id} failed at step {self.step + 1}: {error}",
                f"The batch is {tuple(batch.clean.shape)}; too little memory asks for a smaller "
                "crop, or for a batch computed in parts (accumulate).",
            ) from error
        self._optimizer.step()
        if self._average is not None:
            self._average.update(self.step)
        return loss

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        """Within it the network has the weights that count: the average, if one is kept."""
        return contextlib.nullcontext() if self._average is None else self._average.in_place()

    def _trial(self, batch: data.Sample) -> Tensor:
        """Loss of a part of this process's share of a batch."""
        part = data.Sample(*(tensor.chunk(self._settings.accumulate)[0] for tensor in batch))
        return self._task.loss(self._network, part, self._task.size(part))

    def _backward(self, batch: Sequence[Tensor]) -> Tensor:
        """Gradients of the batch of all processes, part by part."""
        batch = data.Sample(*batch)
        self._optimizer.zero_grad(set_to_none=True)
        # Gradients are averaged over the processes, so that each divides by its share of the size.
        size = self._processes.sum(self._task.size(batch)) / self._processes.count
        pieces = self._settings.accumulate
        parts = [
            data.Sample(*part)
            for part in zip(*(tensor.chunk(pieces) for tensor in batch), strict=True)
        ]
        total = torch.zeros((), device=self._compute.device)
        for number, part in enumerate(parts, start=1):
            last = number == len(parts)
            with (
                contextlib.nullcontext()
                if last
                else self._processes.without_exchange(self._wrapped)
            ):
                loss = self._task.loss(self._wrapped, part, size)
                loss.backward()
            total += loss.detach()
        return total

    def _require_finite_losses(self) -> None:
        """A loss that is not a number must not reach a log, a validation or a saved state."""
        if not self._losses:
            return
        losses = self._processes.sum(torch.stack(self._losses)) / self._processes.count
        self._losses.clear()
        self._finiteness.require_losses(losses.tolist(), self.step)
        self._lap_loss += float(losses.sum())

    def _log(self) -> dict[str, float]:
        self._require_finite_losses()
        seconds = max(time.perf_counter() - self._clock, 1e-9)
        images = (self.step - self._clock_step) * self._settings.batch_size
        figures = {
            "loss": self._lap_loss / (self.step - self._lap_step),
            "learning_rate": learning_rate(self._settings, self.step - 1),
            "images_per_second": images / seconds,
            "data_wait": self._data_wait / seconds,
        }
        self._lap_loss, self._lap_step = 0.0, self.step
        self._start_clock()
        self._record({"step": self.step, **figures, "seconds": self.seconds}, figures, "train/")
        return figures

    def _record(self, entry: dict[str, object], figures: dict[str, float], prefix: str) -> None:
        if self._processes.is_main:
            self._directory.log(entry)
        if self._events is not None:
            self._events.scalars(self.step, figures, prefix)

    def _start_clock(self) -> None:
        self._clock, self._clock_step, self._data_wait = time.perf_counter(), self.step, 0.0

    def _validate(self) -> None:
        with self._averaged():
            try:
                figures = self._validation.run(self.step, self._events, interrupt=self._interrupt)
            except NotFinite as error:
                raise self._finiteness.of_validation(self.step) from error
            better = self._judge.judge(self.step, figures[METRIC[self._stage.kind]])
            if better and not self._is_last and self._processes.is_main:
                self._directory.save_best(networks.weights_of(self._network))
        # The log comes last: a validation that stands there is not repeated.
        entry = {"step": self.step, "validation": figures, "seconds": self.seconds}
        self._record(entry, figures, "validation/")
        self._training.watcher.validated(self.step, figures)
        if self._is_over and not self._is_last:
            self._training.watcher.ended_early(self.step, self._judge.best_step)
        self._start_clock()

    def _save(self) -> None:
        self._require_finite_losses()
        self._finiteness.require_network(self.step)
        if self._processes.is_main:
            self._directory.save_state(
                {
                    "step": self.step,
                    "seconds": self.seconds,
                    "judge": self._judge.as_dict(),
                    "lap_loss": self._lap_loss,
                    "lap_step": self._lap_step,
                    "network": self._network.state_dict(),
                    "optimizer": self._optimizer.state_dict(),
                    "average": {} if self._average is None else self._average.state_dict(),
                }
            )

    def _obey_signals(self) -> None:
        """Save and stop once any process has received a signal."""
        if self._processes.count > 1:
            # Asking costs an exchange; on GPUs also a halt of the queue, which a log is anyway.
            if self._compute.device.type == "cuda" and not self._logs:
                return
            received = torch.tensor(float(self._signals.received or 0), device=self._compute.device)
            if not float(self._processes.sum(received)):
                return
        elif not self._signals.received:
            return
        if not (self._saves or self._validates):
            self._save()
        self._stop()

    def _interrupt(self) -> None:
        """Stop a validation at once: the state of its step is saved already."""
        if self._signals.received:
            self._stop()

    def _stop(self) -> None:
        raise Stopped(
            f"Stopped in {self._stage.id} at step {self.step}, which is saved. The same command "
            "goes on from there.",
            self._signals.received or signal.SIGTERM,
        )
