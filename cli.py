"""`snnzoo`: train, test and predict (LightningCLI), and the zoo's own verbs."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

# torch and its friends take seconds to import, so every command imports what it needs when it runs.
if TYPE_CHECKING:
    from rich.table import Table

    from datamodules.overview import Split
    from zoo.energy import Measurement

RUN_COMMANDS = {
    "fit": "train, distil or fine-tune:  snnzoo fit --config configs/digits/student_bkd.yaml",
    "validate": "measure on the validation split",
    "test": "measure accuracy, firing rates and energy on the test split, and draw the plots",
    "ladder": "train at T = 5, then go down to T = 1:  snnzoo ladder --config configs/digits/ladder.yaml",
    "predict": "write the answers for the test images, or go on with a text, in <run>/predictions.csv",
}


def list_(filter: str = "*", pretrained: bool = False, markdown: bool = False, registry: str | None = None) -> None:
    """List the students of the zoo, or the checkpoints that can be pulled.

    Args:
        filter: Shell pattern, such as 'sew_*'.
        pretrained: List published checkpoints instead of architectures.
        markdown: Print the table of students of docs/models.md instead: sizes, operations, papers, accuracies.
        registry: Directory of published checkpoints; default: $SNNZOO_REGISTRY, then those shipped with the code.
    """
    import zoo

    if markdown:
        from zoo.registry.catalogue import catalogue

        print(catalogue(zoo.list_models(filter), registry))
        return
    for name in zoo.list_models(filter, pretrained=pretrained, registry=registry):
        print(name)


def info(name: str, registry: str | None = None) -> None:
    """Describe a student: parameters, stages, input, checkpoints.

    Args:
        name: An architecture, a checkpoint, or a run.
        registry: Directory of published checkpoints.
    """
    from rich.console import Console
    from rich.table import Table

    import zoo
    from zoo.registry.sources import locate

    model = locate(name, registry).model()
    cfg = model.pretrained_cfg
    architecture = str(cfg["architecture"])
    table = Table("stage", "channels", "1/size", title=f"{name}: {type(model).__name__}")
    for feature in model.feature_info:
        table.add_row(feature["module"], str(feature["num_chs"]), str(feature["reduction"]))
    console = Console()
    console.print(table)
    facts = {
        "parameters": f"{sum(parameter.numel() for parameter in model.parameters()):,}",
        "steps T": getattr(model, "num_steps", 1),
        "classes K": model.num_classes,
        "input C, H, W": tuple(cfg["input_size"]),
        "smallest input": cfg.get("min_input_size"),
        "neuron": next((str(neuron) for neuron in zoo.spiking_neurons(model).values()), "none: not a spiking network"),
        "licence": cfg.get("license"),
        "paper": cfg.get("paper_ids"),
        "checkpoints": ", ".join(zoo.list_models(f"{architecture}.*", pretrained=True, registry=registry)) or "none",
    }
    for key, value in facts.items():
        if value is None:
            continue
        console.print(f"{key:>16}  {value}", highlight=False, soft_wrap=True)


def pull(name: str, registry: str | None = None, dest: str | None = None) -> None:
    """Fetch a published checkpoint and check that it is whole; prints its directory.

    Args:
        name: `architecture.tag` of a registry, hf-hub:org/name[@revision], local-dir:PATH or only the path.
        registry: Directory of published checkpoints; default: $SNNZOO_REGISTRY, then those shipped with the code.
        dest: Copy it to this new directory.
    """
    import zoo

    print(zoo.pull(name, registry=registry, dest=dest))


def publish(source: str, target: str, overwrite: bool = False) -> None:
    """Publish a tested run, with its card, to a registry.

    Args:
        source: A run directory (its best checkpoint is taken), or a .ckpt file of a run.
        target: REGISTRY_DIR/architecture.tag, or hf-hub:org/name.
        overwrite: Replace what is there.
    """
    import zoo

    print(f"Published {zoo.publish(source, target, overwrite=overwrite)}")


def verify(name: str, registry: str | None = None) -> None:
    """Check a published checkpoint: files, sha256, golden logits, and that no spiking layer is silent.

    Args:
        name: As for pull.
        registry: As for pull.
    """
    import zoo

    print(zoo.verify(name, registry=registry))


def report(name: str, registry: str | None = None) -> None:
    """Measure what one inference costs: operations, firing rates, energy, layer by layer.

    What a test recorded of stopping early is shown below it: accuracy and mean steps over the threshold of the score.

    Args:
        name: A published checkpoint, a run or a .ckpt (measured on its golden samples), or an architecture (untrained,
            measured on noise: only parameters and dense operations mean something).
        registry: As for pull.
    """
    from rich.console import Console

    import zoo
    from zoo.energy import measure
    from zoo.model import to_sequence
    from zoo.registry.build import as_model_input
    from zoo.registry.sources import Architecture, locate

    found = locate(name, registry)
    model, golden = found.model(), found.golden_input()
    images = zoo.noise_input(model) if golden is None else as_model_input(model, golden)
    console = Console()
    sequence = to_sequence(images, getattr(model, "sequence_ndim", 5))
    source = "noise" if golden is None else f"{sequence.shape[1]} golden samples"
    for table in report_tables(f"{name}, measured on {source}", measure(model, [images])):
        console.print(table)
    if golden is None:
        why = "Untrained" if isinstance(found, Architecture) else "Not tested yet"
        console.print(f"{why} and measured on noise: only parameters and dense operations mean something.")
    results = found.results()
    if tested := results.cost:
        console.print(
            f"The test measured {tested.energy_uj():.3f} µJ (effective) on {tested.num_samples} samples of the test "
            f"split; the tables above are of {source}.",
            highlight=False,
        )
        if results.early_exit:
            console.print(exit_table(results.early_exit, tested, still=len(sequence) == 1))


def draw(name: str, output: str | None = None, registry: str | None = None) -> None:
    """Draw how a network is wired, and where spikes flow in it: a Mermaid flowchart, seen in one run on noise.

    Args:
        name: An architecture, a checkpoint, a run, or a shell pattern of architectures, such as '*tiny'.
        output: File to write: .mmd for the flowchart, .md for a page; default: print it (of several, a page).
        registry: Directory of published checkpoints.
    """
    import torch

    import zoo
    from zoo.registry.sources import locate
    from zoo.wiring import mermaid, page, wiring

    names = zoo.list_models(name) or [name]
    suffix = Path(output).suffix if output else ".md" if len(names) > 1 else ".mmd"
    if suffix not in (".md", ".mmd") or (suffix == ".mmd" and len(names) > 1):
        raise ValueError(f"output must end in .md or, for one flowchart, in .mmd; found {output}, for {len(names)}.")

    def create(name: str) -> Any:
        torch.manual_seed(0)  # untrained weights are random, their picture is not
        return locate(name, registry).model()

    text = page((name, create(name)) for name in names) if suffix == ".md" else mermaid(wiring(create(name)))
    if output:
        Path(output).write_text(text, encoding="utf-8")
    else:
        print(text, end="")


def data(
    name: str,
    root: str | None = None,
    options: dict[str, Any] | None = None,
    show: bool = False,
    output: str = "runs/data.png",
) -> None:
    """Look at a data set before training: samples, classes, shapes, events; with --show, a picture of it.

    Args:
        name: A DataModule (NMNISTDataModule, or only nmnist), a recipe (configs/nmnist/student_ce.yaml), or a folder
            with one sub-folder per class, of recordings or of images.
        root: Folder of the data, for a DataModule and a recipe.
        options: Other arguments of the DataModule, such as '{sensor_size: [64, 48, 2], on_error: skip}'.
        show: Write a picture: samples over time, events, class balance.
        output: File of the picture.
    """
    from rich.console import Console

    from datamodules.overview import draw, find, survey

    module = find(name, root, options)
    module.prepare_data()
    module.setup("fit")
    console = Console()
    for table in data_tables(name, module, survey(module)):
        console.print(table)
    if show:
        draw(module, Path(output))
        console.print(f"Picture: {output}", highlight=False, soft_wrap=True)


def data_tables(name: str, module: Any, splits: "dict[str, Split]") -> list["Table"]:
    """The numbers of a data set: of its samples, and of its splits."""
    from rich.table import Table

    sample = module.splits["val"][0][0]
    facts = Table("", "", title=f"{name}: {type(module).__name__}", show_header=False)
    axes = {5: "[T, C, H, W]", 4: "[T, P, D]", 3: "[T, F]", 2: "[T]"}[module.sequence_ndim]
    facts.add_row(f"a sample {axes}", f"{list(sample.shape)}, {sample.dtype}, {sample.min():g} to {sample.max():g}")
    facts.add_row("classes K", str(module.num_classes))
    if hasattr(module, "sensor_size"):
        facts.add_row("sensor W, H, P", str(module.sensor_size))
        facts.add_row("representation", str(module.representation))
    surveyed = any(split.surveyed for split in splits.values())
    counted = ("events, median (least to most)", "ms, median", "ON", "empty") if surveyed else ()
    table = Table("split", "samples", "a class: least to most", *counted, title="splits")
    for split, found in splits.items():
        counts = found.classes.values()
        row = [split, f"{found.samples:,}", f"{min(counts):,} to {max(counts):,}" if counts else "-"]
        table.add_row(*row, *(event_cells(found) if surveyed else ()))
    if any(len(split.surveyed) < split.samples for split in splits.values()) and surveyed:
        table.caption = "Events are counted in up to 500 samples of a split, evenly spaced."
    return [facts, table]


def event_cells(split: "Split") -> list[str]:
    """Events of the surveyed recordings of a split."""
    from statistics import median

    events = [facts.events for facts in split.surveyed]
    on = sum(facts.on for facts in split.surveyed) / max(sum(events), 1)
    duration = median(facts.duration for facts in split.surveyed) / 1000
    spread = f"{median(events):,.0f} ({min(events):,} to {max(events):,})"
    return [spread, f"{duration:,.1f}", f"{on:.0%}", str(events.count(0))]


def finetune(
    name: str,
    data: str | None = None,
    run: str | None = None,
    epochs: int = 20,
    lr: float = 1e-3,
    batch_size: int = 16,
    freeze_backbone: bool = False,
    seed: int = 0,
    registry: str | None = None,
) -> None:
    """Fine-tune a published student on a folder of images, or of recordings of an event camera, and test it.

    Recordings become frames of the checkpoint's size, in the way its recipe says.

    Args:
        name: A published checkpoint, or a run.
        data: Folder with one sub-folder per class (or train/, test/ folders of classes); see ImageFolderDataModule and
            EventFolderDataModule.
        run: Directory of the run; default: runs/finetune/<folder>.
        epochs: Passes over the training data.
        lr: Base learning rate (AdamW, cosine).
        batch_size: Samples per step.
        freeze_backbone: Train the new classifier only.
        seed: Of everything random.
        registry: Directory of published checkpoints.
    """
    import zoo
    from datamodules.overview import folder_kind

    if data is None:
        raise ValueError("finetune needs --data FOLDER, with one sub-folder of images or recordings per class.")
    events = folder_kind(Path(data)).__name__ == "EventFolderDataModule"
    model = zoo.create_model(name, pretrained=True, registry=registry)
    how = events_as(name, model, registry) if events else images_as(model.pretrained_cfg)
    if registry is not None:
        name = f"local-dir:{zoo.pull(name, registry=registry)}"
    run = run or str(Path("runs/finetune") / Path(data).resolve().name)
    recipe = str(Path(__file__).parent / f"configs/{'event' if events else 'image'}_folder/finetune.yaml")
    choices = {
        "run": run,
        "seed_everything": seed,
        "model.model": name,
        "model.freeze_backbone": str(freeze_backbone).lower(),
        "model.optimizer.lr": lr,
        "data.root": data,
        "data.batch_size": batch_size,
        "trainer.max_epochs": epochs,
        **how,
    }
    main(["fit", "--config", recipe, *(f"--{key}={value}" for key, value in choices.items())])
    main(["test", "--config", f"{run}/config.yaml"])


def images_as(cfg: dict[str, Any]) -> dict[str, Any]:
    """Images as a checkpoint knows them: size, channels, normalisation."""
    channels, size, _ = cfg["input_size"]
    statistics = {f"data.{key}": list(cfg[key]) for key in ("mean", "std")}
    return {"data.image_size": size, "data.in_chans": channels, **statistics}


def events_as(name: str, model: Any, registry: str | None) -> dict[str, Any]:
    """Recordings as a checkpoint knows them: size, and the representation of its recipe."""
    import json

    from zoo.registry.sources import locate

    settings = locate(name, registry).recipe().get("data", {}).get("init_args", {})
    known = {"data.representation": json.dumps(settings["representation"])} if settings.get("representation") else {}
    clouds = getattr(model, "sequence_ndim", 5) == 4  # they have no pixels
    return known if clouds else {"data.size": list(model.pretrained_cfg["input_size"][1:]), **known}


def convert(
    run: str,
    target: str,
    method: str | None = None,
    steps: int = 8,
    calibrate: str = "none",
    start: str = "potential",
    percentile: float = 99.9,
    samples: int = 1024,
    seed: int = 0,
    data: dict[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Convert a trained ANN twin into its spiking student, without training: docs/conversion.md.

    Args:
        run: The run of a twin, such as pool_vgg_s, or a student trained with neuron: relu or qcfs.
        target: Directory of the student's run, new; `snnzoo test --config TARGET/config.yaml` measures it.
        method: Of the thresholds: qcfs, ltb or percentile; default: qcfs or ltb, as the twin's activation is.
        steps: Steps T that the student is made for.
        calibrate: What corrects the mean error of every channel: none, bias or potential.
        start: potential (each neuron starts at half its threshold), or bias for hardware that cannot.
        percentile: Of the activation, with method percentile.
        samples: Training images that thresholds and corrections are read from.
        seed: Of the choice of these images.
        data: Arguments of the data that differ from the twin's recipe: --data.root DATA.
        overwrite: Replace an earlier conversion.
    """
    from commands.convert import convert_run
    from datamodules import BaseDataModule

    how = (method, steps, calibrate, start, percentile)
    convert_run(BaseDataModule, run, target, *how, samples=samples, seed=seed, data=data, overwrite=overwrite)


VERBS: dict[str, Any] = {
    "list": list_,
    "info": info,
    "pull": pull,
    "publish": publish,
    "verify": verify,
    "report": report,
    "draw": draw,
    "data": data,
    "finetune": finetune,
    "convert": convert,
}


def report_tables(name: str, cost: "Measurement") -> list["Table"]:
    """The cost of one inference: a table of totals and a table of layers."""
    from rich.table import Table

    from zoo.energy import HOROWITZ_45NM as CONSTANTS

    totals = Table("per inference (all steps)", "", title=name, show_header=False)
    rate = "none: not a spiking network" if cost.firing_rate is None else f"{cost.firing_rate:.4f} spikes/neuron/step"
    assumption = f"{CONSTANTS.name}: {CONSTANTS.mac_pj} pJ a MAC, {CONSTANTS.ac_pj} pJ an AC; no memory traffic"
    for key, value in {
        "parameters": f"{cost.parameters:,} ({cost.footprint_bytes / 1e6:.2f} MB with buffers)",
        "zero weights": f"{cost.connection_sparsity:.2%}",
        "firing rate": rate,
        "dense operations": f"{cost.dense:,.0f}",
        "effective MACs": f"{cost.macs:,.0f}",
        "effective ACs": f"{cost.acs:,.0f}",
        "energy, effective": f"{cost.energy_uj():.3f} µJ ({assumption})",
        "energy, as in papers": f"{cost.energy_uj('paper'):.3f} µJ (dense MACs of the encoder, ACs elsewhere)",
    }.items():
        totals.add_row(key, value)
    layers = Table("layer", "kind", "dense", "MACs", "ACs", "input density", title="layers")
    for layer in cost.layers:
        counts = (f"{count:,.0f}" for count in (layer.dense, layer.macs, layer.acs))
        layers.add_row(layer.name, layer.kind, *counts, f"{layer.input_density:.3f}")
    return [totals, layers]


def exit_table(curve: Mapping[str, list[dict[str, float]]], cost: "Measurement", still: bool) -> "Table":
    """Accuracy, mean steps and energy of a student that stops when its score exceeds a threshold, one line for each.

    Args:
        curve: See `lightning_modules.metrics.exit_curve.ExitCurve`.
        cost: What all steps cost.
        still: Whether the input is a still image, which is encoded once, not at every step.
    """
    from dataclasses import replace

    from rich.table import Table

    encoder = replace(cost, layers=tuple(layer for layer in cost.layers if layer.encoder and still)).energy_uj()
    total = max(row["mean_steps"] for rows in curve.values() for row in rows)  # threshold 1: all steps
    caption = "Energy is estimated: every step taken to cost the same, and the encoder of a still image to run once."
    table = Table("score", title="early exit, on the test split", caption=caption)
    for column in ("threshold", "accuracy", "mean steps", "energy, about"):
        table.add_column(column, justify="right")
    for score, rows in curve.items():
        for row in rows:
            energy = encoder + (cost.energy_uj() - encoder) * row["mean_steps"] / total
            cells = (f"{row['threshold']:g}", f"{row['acc']:.2%}", f"{row['mean_steps']:.2f}", f"{energy:.3f} µJ")
            table.add_row(score, *cells)
        table.add_section()
    return table


def overview() -> str:
    """The help page."""
    lines = ["usage: snnzoo COMMAND [options]    (the same: python cli.py COMMAND)", "", "train and measure:"]
    lines += [f"  {name:10} {what}" for name, what in RUN_COMMANDS.items()]
    lines += ["", "the zoo:"]
    lines += [f"  {name:10} {(verb.__doc__ or '').splitlines()[0]}" for name, verb in VERBS.items()]
    return "\n".join([*lines, "", "snnzoo COMMAND --help shows the options of a command."])


def spelled_out(verb: Callable[..., None], args: Sequence[str]) -> list[str]:
    """The arguments of a verb, where a switch alone (`--pretrained`) means `--pretrained true`."""
    switches = {f"--{name}" for name, parameter in signature(verb).parameters.items() if parameter.annotation is bool}
    words: list[str] = []
    for word, after in zip_longest(args, args[1:]):
        words += [word, "true"] if word in switches and after not in ("true", "false") else [word]
    return words


def run(command: str, args: Sequence[str]) -> None:
    """Carry out one command."""
    if command in VERBS:
        from jsonargparse import auto_cli

        auto_cli(VERBS, args=[command, *spelled_out(VERBS[command], args)], prog="snnzoo")
    elif command == "ladder":
        from commands.ladder import ladder
        from datamodules import BaseDataModule

        ladder(BaseDataModule, args)
    elif command in RUN_COMMANDS:
        from commands.run import RunCLI
        from datamodules import BaseDataModule

        RunCLI(BaseDataModule, [command, *args])
    else:
        from zoo.errors import unknown

        raise ValueError(unknown("command", command, [*RUN_COMMANDS, *VERBS]))


def main(args: Sequence[str] | None = None) -> None:
    """Run one command.

    What a user can mend ends with one sentence and exit status 2, not with a traceback; Ctrl-C ends with 130.
    """
    args = list(sys.argv[1:] if args is None else args)
    if not args or args[0] in ("-h", "--help"):
        print(overview())
        return
    try:
        run(args[0], args[1:])
    except (ValueError, OSError) as error:
        if os.environ.get("SNNZOO_DEBUG"):
            raise
        print(f"error: {error}\n(SNNZOO_DEBUG=1 shows where.)", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print(f"\n{stop}" if stop.args else "\nInterrupted.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
