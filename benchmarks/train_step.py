"""How long is a training step of a whole student? Ours, a peer and the ANN, interleaved in one run; medians.

    python benchmarks/train_step.py --quick      # below a minute; the last line is JSON
    python benchmarks/train_step.py              # also the peer under torch.compile

SEW-ResNet-18 with the stem for small images (3x3 convolution, no pool), T = 4, batch 32, 32 x 32 pixels, SGD with
momentum: forward, backward, update. The peer is SpikingJelly's `sew_resnet18` with the same stem and neuron (LIF,
tau 2, atan, reset detached); without it (`pip install spikingjelly==2.0.0`) its rows are skipped. The ANN is timm's
`resnet18` with the same stem, which sees the image once.
"""

import argparse
import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import zoo
from commands.memory import keep_memory

Step = Callable[[], None]
STEPS, BATCH, CLASSES = 4, 32, 10
LIF = {"name": "lif", "tau": 2.0, "surrogate": "atan"}


def student() -> nn.Module:
    """Ours; an image is encoded once."""
    return zoo.create_model("sew_resnet18_small", num_classes=CLASSES, num_steps=STEPS, neuron=LIF)


def ann() -> nn.Module:
    """timm's, with the small stem."""
    model = timm.create_model("resnet18", num_classes=CLASSES)
    model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return model


def spikingjelly() -> nn.Module:
    """The peer, with the small stem; it is given the image at every step."""
    from spikingjelly.activation_based import functional, layer, neuron, surrogate
    from spikingjelly.activation_based.model import sew_resnet

    class Repeated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            settings = {"surrogate_function": surrogate.ATan(), "detach_reset": True}
            self.net = sew_resnet.sew_resnet18(
                cnf="ADD", spiking_neuron=neuron.LIFNode, num_classes=CLASSES, **settings
            )
            self.net.conv1, self.net.maxpool = layer.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
            functional.set_step_mode(self.net, "m")

        def forward(self, x: Tensor) -> Tensor:
            functional.reset_net(self.net)
            return self.net(x.expand(STEPS, *x.shape)).mean(0)

    return Repeated()


def make_step(model: nn.Module, bf16: bool, teacher: nn.Module | None = None, channels_last: bool = False) -> Step:
    """One training step on a fixed random batch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    x, target = torch.randn(BATCH, 3, 32, 32), torch.randint(CLASSES, (BATCH,))
    if channels_last:
        x, model = x.to(memory_format=torch.channels_last), model.to(memory_format=torch.channels_last)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(x)
            loss = F.cross_entropy(logits.float(), target)
            if teacher is not None:
                with torch.no_grad():
                    soft = teacher(x).float().softmax(-1)
                loss = loss + F.cross_entropy(logits.float(), soft)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def make_forward(teacher: nn.Module) -> Step:
    """What a teacher does in a step, channels-last as in the step."""
    x = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.no_grad():
            teacher(x).softmax(-1)

    return forward


def measure(steps: dict[str, Step], rounds: int) -> dict[str, float]:
    """Median seconds, interleaved; the first round compiles and warms up."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if index:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def contenders(quick: bool) -> dict[str, Step]:
    """Name -> step."""
    torch.manual_seed(0)
    steps: dict[str, Step] = {}
    for name, bf16 in (("fp32", False), ("bf16", True)):
        steps[f"ours {name}"] = make_step(student(), bf16)
        steps[f"ours {name} channels-last"] = make_step(student(), bf16, channels_last=True)
        steps[f"ann {name}"] = make_step(ann(), bf16)
        try:
            steps[f"spikingjelly {name}"] = make_step(spikingjelly(), bf16)
        except ImportError as error:
            print(f"spikingjelly is skipped: {error}")
            continue
        if not quick:
            steps[f"spikingjelly {name} compiled"] = make_step(torch.compile(spikingjelly()), bf16)
    teacher = ann().eval()
    steps["ours fp32 distilled"] = make_step(student(), False, teacher, channels_last=True)
    steps["teacher forward"] = make_forward(teacher)
    return steps


def ratios(times: dict[str, float]) -> dict[str, Any]:
    """What the project promises."""
    best = {p: min(times[f"ours {p}"], times[f"ours {p} channels-last"]) for p in ("fp32", "bf16")}
    found: dict[str, Any] = {"over_ann_T1": best["fp32"] / times["ann fp32"]}
    found["over_ann_T1_bf16"] = best["bf16"] / times["ann bf16"]
    if "spikingjelly fp32" in times:
        found["vs_sj_eager_fp32"] = times["spikingjelly fp32"] / best["fp32"]
        found["bf16_vs_sj_eager_fp32"] = times["spikingjelly fp32"] / best["bf16"]
        found["vs_sj_eager_bf16"] = times["spikingjelly bf16"] / best["bf16"]
    extra = times["ours fp32 distilled"] - times["ours fp32 channels-last"]
    found["distillation_over_teacher_forward"] = extra / times["teacher forward"]
    return {name: round(value, 2) for name, value in found.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="below a minute")
    args = parser.parse_args()
    warnings.filterwarnings("ignore")  # those of the peers
    kept = keep_memory()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}, memory kept: {kept}")
    times = measure(contenders(args.quick), rounds=3 if args.quick else 7)
    for name, seconds in times.items():
        print(f"{name:32} {1e3 * seconds:9.1f} ms   {seconds / times['ann fp32']:6.2f} x ann fp32")
    print(json.dumps(ratios(times)))


if __name__ == "__main__":
    main()
