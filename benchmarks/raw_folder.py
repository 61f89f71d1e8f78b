"""Writes recordings of N-MNIST as a folder of another camera's files: how does training on one's own recordings go?

    python benchmarks/raw_folder.py --root data --output data/raw_digits

makes `output/<digit>/<number>.raw`, Prophesee's EVT2 format (by expelliarmus, not by our own code), of the recordings
under `root/NMNIST`: both of its folders, so that the folder's own splits are cut anew.
"""

import argparse
from pathlib import Path

import numpy as np
from expelliarmus import Wizard

from datamodules.events.readers.formats import read_events

FIELDS = np.dtype([("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")])


def main() -> None:
    """Convert all recordings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("data"), help="folder that holds the folder NMNIST")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    args = parser.parse_args()
    wizard = Wizard(encoding="evt2")
    files = sorted((args.root / "NMNIST").glob("T*/*/*.bin"))
    for file in files:
        events = read_events(file).in_time()
        folder = args.output / file.parent.name
        folder.mkdir(parents=True, exist_ok=True)
        array = np.empty(len(events), FIELDS)
        for name in FIELDS.names or ():
            array[name] = getattr(events, name)
        target = folder / f"{file.parent.parent.name.lower()}_{file.stem}.raw"
        wizard.save(fpath=target, arr=array)
    print(f"Wrote {len(files)} recordings to {args.output}.")


if __name__ == "__main__":
    main()
