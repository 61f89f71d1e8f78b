"""N-Caltech101: the photographs of Caltech101, filmed by a moving event camera."""

from pathlib import Path
from typing import Any

from .published import Layout, PublishedEventDataModule, class_splits, hold_out, number, recordings
from .recordings import EventSample

NAMES = """
BACKGROUND_Google Faces_easy Leopards Motorbikes accordion airplanes anchor ant barrel bass beaver binocular bonsai
brain brontosaurus buddha butterfly camera cannon car_side ceiling_fan cellphone chair chandelier cougar_body
cougar_face crab crayfish crocodile crocodile_head cup dalmatian dollar_bill dolphin dragonfly electric_guitar
elephant emu euphonium ewer ferry flamingo flamingo_head garfield gerenuk gramophone grand_piano hawksbill headphone
hedgehog helicopter ibis inline_skate joshua_tree kangaroo ketch lamp laptop llama lobster lotus mandolin mayfly
menorah metronome minaret nautilus octopus okapi pagoda panda pigeon pizza platypus pyramid revolver rhino rooster
saxophone schooner scissors scorpion sea_horse snoopy soccer_ball stapler starfish stegosaurus stop_sign strawberry
sunflower tick trilobite umbrella watch water_lilly wheelchair wild_cat windsor_chair wrench yin_yang
"""
CLASSES = tuple(NAMES.split())


class NCaltech101DataModule(PublishedEventDataModule):
    """8,709 recordings of 101 classes, 300 ms: three saccades of 100 ms over each image.

    The images differ in size; all fit into 240 x 180 pixels, which is the size of every frame, and none is moved: the
    left upper corner stays where it was. (tonic moves each recording to its smallest coordinates.)

    There is no official split. Here, of each class in the order of the image numbers: the last 10 % for the test, the
    last `val_fraction` of the others for validation, the first ones for training. Blocks, because neighbours in
    Caltech101 may show the same person or object; the data do not say who is who.

    Files `root/NCALTECH101/Caltech101/<class>/image_<number>.bin`, 5 bytes an event; downloaded by tonic if missing.

    Args:
        root: Folder that holds (or receives) the folder `NCALTECH101`, or that holds `Caltech101`.
        val_fraction: Part of the training recordings for validation.
        kwargs: Arguments of `EventDataModule`.

    Source: G. Orchard et al. 2015, "Converting static image datasets to spiking neuromorphic datasets using saccades".
    """

    title = "N-Caltech101"
    num_classes = 101
    sensor_size = (240, 180, 2)
    label_names = CLASSES
    home = "https://www.garrickorchard.com/datasets/n-caltech101"
    files = "NCALTECH101/Caltech101/<class>/image_<number>.bin"
    layouts = (Layout("NCALTECH101/Caltech101", CLASSES), Layout("Caltech101", CLASSES), Layout(".", CLASSES))

    def __init__(self, root: str = "data", val_fraction: float = 0.1, **kwargs: Any) -> None:
        super().__init__(root=root, val_fraction=val_fraction, **kwargs)

    def fetch(self) -> None:
        """Download with tonic, which leaves an archive in the archive."""
        from tonic.datasets import NCALTECH101
        from tonic.download_utils import extract_archive

        NCALTECH101(str(self.root))
        inner = Path(self.root, "NCALTECH101/Caltech101.zip")
        if inner.exists():
            extract_archive(str(inner))

    def find(self) -> dict[str, list[EventSample]]:
        """The files, by class and number."""
        folder = self.folder
        classes = [hold_out(sorted(recordings(folder / name, (".bin",)), key=number), 0.1) for name in CLASSES]
        return class_splits(classes, self.val_fraction)
