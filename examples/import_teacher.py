"""Import weights that were trained elsewhere as a teacher: the CIFAR ResNets of akamaster/pytorch_resnet_cifar10.

    python examples/import_teacher.py resnet56.safetensors runs/teachers/cifar_resnet56.cifar10

TARGET is then a name like any other: `snnzoo report TARGET`, `--model.teacher TARGET`. Save the weights (BSD-2) as
safetensors first. To import a network of your own, rename its tensors to those of a timm model in the same way.
"""

import argparse
import re
from pathlib import Path

from safetensors.torch import load_file

import zoo
from datamodules import CIFAR10DataModule

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what these networks were trained with


def main() -> None:
    """Rename the tensors, load them strictly, publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, help="resnet20.safetensors or resnet56.safetensors")
    parser.add_argument("target", help="DIRECTORY/cifar_resnet56.TAG")
    args = parser.parse_args()
    depth = re.search(r"\d+", args.weights.stem)
    model = zoo.create_model(f"cifar_resnet{depth[0] if depth else ''}", num_classes=10)
    weights = {key.replace("linear.", "fc."): value for key, value in load_file(args.weights).items()}
    counters = {key: value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")}
    model.load_state_dict(weights | counters)
    model.pretrained_cfg.update(mean=MEAN, std=STD, label_names=list(CIFAR10DataModule.label_names))
    print(zoo.publish(model, args.target, license="bsd-2-clause"))


if __name__ == "__main__":
    main()
