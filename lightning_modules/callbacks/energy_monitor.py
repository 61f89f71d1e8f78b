"""The cost of a tested network, and the record of its test: `results.json`."""

import platform
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lightning import Callback, Trainer
from torch import Tensor

from zoo.energy import Measurement, OperationCounter
from zoo.registry.files import write_tensors
from zoo.registry.results import Results, write_results
from zoo.registry.runs import Run


class EnergyMonitor(Callback):
    """Counts operations, firing rates and energy during `test`, for the trained network and its teacher alike.

    Logs `test/firing_rate`, `test/macs`, `test/acs` and `test/energy_uj` (effective convention of `zoo.energy`), and
    writes to the run directory `results.json` (metrics and measurements) and `golden_input.safetensors` (real images
    that `zoo.publish` stores with the logits they give).

    Args:
        num_samples: Test samples that are counted; counting costs about one more pass over them.
    """

    def __init__(self, num_samples: int = 256) -> None:
        self.num_samples = num_samples
        self.counters: dict[str, OperationCounter] = {}
        self.measurements: dict[str, Measurement] = {}
        self.stack = ExitStack()
        self.seen = 0
        self.golden_input: Tensor | None = None

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Attach the counters."""
        networks = {"model": pl_module.model} | (
            {"teacher": pl_module.teacher} if hasattr(pl_module, "teacher") else {}
        )
        self.counters = {name: OperationCounter(network) for name, network in networks.items()}
        self.measurements, self.golden_input, self.seen = {}, None, 0
        for counter in self.counters.values():
            self.stack.enter_context(counter)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Detach the counters once enough samples were seen."""
        if self.golden_input is None:
            self.golden_input = batch[0][:, :8].cpu().contiguous()
        if not self.measurements:
            self.seen += batch[0].shape[1]  # N
            if self.seen >= self.num_samples:
                self.finish()

    def finish(self) -> None:
        """Read the counters and detach them."""
        self.stack.close()
        self.measurements = {name: counter.measurement(self.seen) for name, counter in self.counters.items()}

    def on_test_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Log the cost of the trained network."""
        if not self.measurements:
            self.finish()
        cost = self.measurements["model"]
        logs = {"macs": cost.macs, "acs": cost.acs, "energy_uj": cost.energy_uj(), "parameters": cost.parameters}
        if cost.firing_rate is not None:
            logs["firing_rate"] = cost.firing_rate
        pl_module.log_dict({f"test/{name}": float(value) for name, value in logs.items()}, sync_dist=True)

    def on_test_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Write the record."""
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            root = Path(trainer.default_root_dir)
            root.mkdir(parents=True, exist_ok=True)
            assert self.golden_input is not None  # a test had at least one batch
            write_tensors(root / "golden_input.safetensors", {"input": self.golden_input})
            write_results(root, self.results(trainer, pl_module))

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Leave no hook behind."""
        self.stack.close()

    def results(self, trainer: Trainer, pl_module: Any) -> Results:
        """The record of this test."""
        scores = {name.removeprefix("test/"): value.item() for name, value in trainer.callback_metrics.items()}
        counted = {"macs", "acs", "energy_uj", "parameters", "firing_rate"}  # stand in the measurement
        run = Run(str(trainer.ckpt_path)) if trainer.ckpt_path else None  # whose numbers these are
        teacher = self.measurements.get("teacher")
        return Results(
            dataset=type(trainer.datamodule).__name__.removesuffix("DataModule"),  # type: ignore[attr-defined]
            split="test",
            metrics={name: round(value, 6) for name, value in scores.items() if name not in counted},
            num_steps=pl_module.model.num_steps,
            seed=recorded_seed(run) if run else None,
            measurement=self.measurements["model"].to_dict(),
            versions={name: version(name) for name in ("torch", "timm", "lightning", "snn-zoo")}
            | {"python": platform.python_version(), "device": str(pl_module.device)},
            early_exit=pl_module.exit_curve or {},
            checkpoint=run.fingerprint if run else {},
            teacher=pl_module.teacher_facts() | {"measurement": teacher.to_dict()} if teacher else {},
        )


def recorded_seed(run: Run) -> int | None:
    """`seed_everything` of a run; None if its recipe leaves the choice open."""
    seed = run.recipe().get("seed_everything")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else None
