r"""The latency ladder: a student trained at T = 5, then taken down to T = 1, every rung from the one before.

A student trained at T = 1 from scratch falls silent layer by layer. Here every rung starts from the full state of the
rung above (weights, norms, and the thresholds and leaks of `Leaky` neurons), with a fresh optimiser and schedule, and
may be distilled from it: the rung above is then the teacher, in place of one that the recipe names, which teaches the
first rung only. T counts how often a still image is shown; in a sequence of frames T is that of the data.

    RUN/ladder.json         what the ladder is, and its table
    RUN/T5/, RUN/T4/, ...   one run for every rung; see `run.py`
    RUN/T4/recipe.yaml      the recipe of rung 4
    RUN/T4/start/           the test of rung 4 before it is trained: the weights of rung 5, shown T = 4 steps
    RUN/T4/start.ckpt       those weights with thresholds set from data (--recalibrate)

The same command resumes an interrupted ladder; a rung is finished once it was tested.
It runs in one process on one device: it starts one trainer after the other, and DDP would repeat the whole command.

Source: Chowdhury, Rathi and Roy, Towards ultra low latency spiking neural networks for vision and sequential tasks
using temporal pruning, ECCV 2022, arXiv:2110.05929 (IIR-SNN). Distillation from the rung above is ours.
"""

from .ladder_plan import MIN_RATE, plan_of


def ladder(
    *options: str,
    config: str,
    steps: str = "5,4,3,2,1",
    epochs: str | None = None,
    run: str | None = None,
    kd: bool = False,
    recalibrate: bool = False,
    min_rate: float = MIN_RATE,
) -> None:
    """Train at T = 5, then go down to T = 1, each rung from the one above.

    Any other option is one of `snnzoo fit` and applies to every rung: --data.root DATA.

    Args:
        *options: Options of `snnzoo fit`.
        config: Recipe of the first rung, such as configs/digits/spiking_vgg_ladder.yaml.
        steps: T of every rung, descending.
        epochs: Epochs of every rung, or one number for all; default: those of the recipe.
        run: Directory of the ladder; default: that of the recipe.
        kd: The rung above is the teacher, in place of one in the recipe, which then teaches the first rung only.
        recalibrate: Set the thresholds from data before a rung is trained.
        min_rate: Firing rate below which a layer counts as silent before training; 0: go on anyway.

    Raises:
        ValueError: If an option is wrong, the ladder does not descend, the directory holds another ladder, a rung
            could not be trained, or a layer falls silent.
        KeyboardInterrupt: If it was interrupted; the message tells how to go on.
    """
    plan = plan_of(options, config, steps, epochs, run, kd, recalibrate, min_rate)
    from rich.console import Console

    from .ladder_record import refuse_another, remember, row, table
    from .ladder_rungs import train

    refuse_another(plan)
    for index in range(len(plan.steps)):
        if not (plan.rung(index) / "results.json").exists():
            try:
                train(plan, index)
            except KeyboardInterrupt as stop:
                raise KeyboardInterrupt(f"Interrupted at T = {plan.steps[index]}.\nGo on: {plan.command()}") from stop
    rows = [row(plan, index) for index in range(len(plan.steps))]
    remember(plan, rows)
    Console().print(table(plan, rows))
