import numpy as np
import pytest
import torch
from PIL import Image

from datamodules.errors import DataError
from datamodules.images.traverses import PlacesDataModule

SEASONS = ("spring", "fall", "winter", "summer")


def draw(folder, names, level):
    """Grey images that tell the traverse: all pixels of a traverse have one level, and of a frame one corner."""
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        pixels = np.full((12, 20), level, np.uint8)
        pixels[2, 6] = number
        Image.fromarray(pixels).save(folder / f"{name}.png")


@pytest.fixture
def nordland(tmp_path):
    for level, season in enumerate(SEASONS, 1):
        draw(tmp_path / season, [f"images-{n:05d}" for n in range(40)], 50 * level)
    return tmp_path


def drive(root, name, offset, level, count=30, every=10.0, start=1_400_000_000_000_000):
    """A RobotCar traverse: 10 m from frame to frame along the north, 4 frames a second; positions at other times."""
    times = start + 250_000 * np.arange(count)
    draw(root / name / "stereo/centre", times.tolist(), level)
    (root / name / "gps").mkdir()
    fixes = np.arange(times[0] - 50_000, times[-1] + 100_000, 90_000)
    lines = [f"{t},ok,{offset + (t - start) / 250_000 * every:.6f},{7.0}" for t in fixes]
    (root / name / "gps/ins.csv").write_text("\n".join(["timestamp, status, northing, easting", *lines[::-1]]))


@pytest.fixture
def robotcar(tmp_path):
    drive(tmp_path, "sun", 0.0, 50)
    drive(tmp_path, "rain", 3.0, 100, count=37, every=8.0)
    drive(tmp_path, "dusk", 41.0, 150, count=20)
    return tmp_path


def make(root, **changes):
    data = PlacesDataModule(**{"root": str(root), "batch_size": 4, "image_size": 12, "skip": 8, **changes})
    data.setup("fit")
    return data


def make_robotcar(root, **changes):
    return make(root, **{"references": ["sun", "rain"], "query": "dusk", "skip": 2, "tolerance": 2.5, **changes})


def test_aligned_frames_are_places(nordland):
    data = make(nordland)
    assert list(data.label_names) == [f"images-{n:05d}" for n in (0, 8, 16, 24, 32)]
    assert (data.num_classes, data.tolerance) == (5, 0.0)
    x, y = (torch.cat(parts, -1 if parts[0].ndim == 1 else 1) for parts in zip(*data.test_dataloader(), strict=True))
    assert x.shape == (1, 5, 1, 12, 12)
    assert y.tolist() == [0, 1, 2, 3, 4]
    assert (x[0, :, 0, 2, 2] * 63.75 + 127.5).round().tolist() == [0, 8, 16, 24, 32]  # frames in the order of names


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    for level, season in enumerate(SEASONS, 1):
        draw(tmp_path / season, [f"f{n}" for n in range(24)], 50 * level)
    assert list(make(tmp_path, skip=4).label_names) == ["f0", "f4", "f8", "f12", "f16", "f20"]


def test_the_query_is_in_the_test_alone(nordland):
    data = make(nordland)
    files = {split: {file.parent.name for file, _ in part.source.files} for split, part in data.splits.items()}
    assert files == {"train": {"spring", "fall"}, "val": {"winter"}, "test": {"summer"}}
    assert {split: len(part) for split, part in data.splits.items()} == {"train": 10, "val": 5, "test": 5}
    data = make(nordland, references=["spring", "winter"], val="fall")
    files = {split: {file.parent.name for file, _ in part.source.files} for split, part in data.splits.items()}
    assert files == {"train": {"spring", "winter"}, "val": {"fall"}, "test": {"summer"}}


def test_stretches_of_a_route(nordland):
    data = make(nordland, skip=2, first_place=3, num_places=4)
    assert list(data.label_names) == [f"images-{n:05d}" for n in (6, 8, 10, 12)]
    assert np.array_equal(data.matches(), np.eye(4, dtype=bool))
    data = make(nordland, skip=2, num_places=5, tolerance=1)
    places = np.arange(5)
    assert np.array_equal(data.matches(), abs(places[:, None] - places) <= 1)
    assert data.matches("train").shape == (10, 5)


def test_frames_are_matched_by_where_they_were_taken(robotcar):
    data = make_robotcar(robotcar)
    assert np.allclose(data.positions, [[20.0 * place, 7.0] for place in range(15)], atol=1e-6)
    rain = [(file.stem, place) for file, place, _ in data.visits["rain"]]
    sun_0, step = 1_400_000_000_000_000, 250_000
    for stem, place in rain:  # rain is at 3 + 8 n: of these, none further than 2.5 m from 20 k
        n = (int(stem) - sun_0) // step
        assert abs(3 + 8 * n - 20 * place) <= 2.5
    reached = {k for k in range(15) for n in range(37) if abs(3 + 8 * n - 20 * k) <= 2.5}
    assert {place for _, place in rain} == reached
    dusk = [place for _, place, _ in data.visits["dusk"]]
    assert dusk == [k for k in range(15) if any(abs(41 + 10 * n - 20 * k) <= 2.5 for n in range(20))]
    truth = data.matches()
    assert truth.shape == (len(dusk), 15)
    assert np.array_equal(truth.argmax(1), dusk)
    assert make_robotcar(robotcar, tolerance=21.5).matches().sum(1).max() == 3
    assert data.input_cfg["tolerance"] == 2.5
    assert np.allclose(data.input_cfg["positions"], data.positions)


def test_frames_without_a_position_are_left_out(robotcar):
    file = robotcar / "dusk/gps/ins.csv"
    head, *lines = file.read_text().splitlines()
    file.write_text("\n".join([head, *sorted(lines)[:30]]))  # the first 2.6 s
    data = make_robotcar(robotcar)
    assert max(place for _, place, _ in data.visits["dusk"]) <= (41 + 10 * 10.5) / 20 + 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"skip": 0}, "skip: expected at least 1, found 0"),
        ({"first_place": -1}, "first_place: expected at least 0"),
        ({"image_size": 0}, "image_size: expected at least 1"),
        ({"in_chans": 2}, "in_chans: expected 3"),
        ({"tolerance": float("nan")}, "tolerance: expected a distance .* found nan"),
        ({"references": ["spring"]}, "either val or a second reference"),
        ({"references": ["spring", "summer"]}, "name every traverse once"),
        ({"val": "fall"}, "name every traverse once"),
        ({"num_places": -1}, "num_places: expected at least 2, or None for all, found -1"),
        ({"num_places": 6}, "40 frames, .* are 5 places; asked for 6"),
        ({"skip": 40}, "are 1 places; asked for at least 2"),
    ],
)
def test_what_it_refuses(nordland, changes, message):
    with pytest.raises(ValueError, match=message):
        make(nordland, **changes)


def test_folders_it_refuses(nordland, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no images in .*/day. Expected a folder .* found fall, spring, summer, w"
    ):
        make(nordland, query="day")
    with pytest.raises(FileNotFoundError, match="found no folder"):
        make(tmp_path / "nowhere")
    (nordland / "fall/images-00016.png").unlink()
    with pytest.raises(ValueError, match=r"fall has 39 frames, but none for 1 of 5 places: images-00016"):
        make(nordland)
    make(nordland, references=["spring", "winter"])  # fall is not asked for
    (nordland / "summer/images-00008.png").write_text("no image")
    with pytest.raises(ValueError, match=r"images-00008.png: not an image"):
        make(nordland, references=["spring", "winter"])


def test_positions_it_refuses(robotcar):
    file = robotcar / "dusk/gps/ins.csv"
    whole = file.read_text()
    for broken, message in (
        ("timestamp,x,y\n1,2,3", "missing column northing, easting; found"),
        ("", "missing column timestamp, northing, easting; found nothing"),
        ("timestamp,northing,easting\n", "has no positions"),
        ("timestamp,northing,easting\n1,2,3\n2,nan,3", r"line 3: expected three numbers .* found \['2', 'nan', '3'\]"),
        ("timestamp,northing,easting\n1,2", r"line 2: expected three numbers"),
        ("timestamp,northing,easting\n1,2,3\n5,2,3", "has positions from 1 to 5, when no image of"),
    ):
        file.write_text(broken)
        with pytest.raises(DataError, match=f"ins.csv: {message}"):
            make_robotcar(robotcar)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"sun has a file of positions, unlike dusk"):
        make_robotcar(robotcar)
    file.write_text(whole.replace(",7.0", ",7000.0"))
    with pytest.raises(ValueError, match=r"dusk comes no nearer than 6993 m to any .* Is it the same route"):
        make_robotcar(robotcar)
    draw(robotcar / "night", ["a", "b"], 9)
    (robotcar / "night/positions.csv").write_text("timestamp,northing,easting\n1,2,3")
    with pytest.raises(DataError, match=r"images named by their timestamp in µs; found a.png, b.png"):
        make_robotcar(robotcar, query="night")
