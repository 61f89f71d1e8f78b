"""Against brute force: brightness at every microsecond, searched for its crossings."""

import zlib

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from datamodules.events.camera import EventCamera
from datamodules.events.frames import Frames

CLEAN = {"mismatch": 0.0, "noise_rate": 0.0}
QUICK = {"size": (9, 11), "border": 1.0, "saccade_ms": 4.0, "step_ms": 0.2, "amplitude": 3.0}


def picture(seed=0, size=(6, 8)):
    return np.random.default_rng(seed).random(size)


def seen(camera, image):
    """Brightness [S, H, W] in float64, by scipy's interpolation, from the equations of the docstring."""
    height, width = camera.size
    t = np.linspace(0, 3, round(3 * camera.saccade_ms / camera.step_ms) + 1)
    corners = camera.amplitude * np.array([[-0.5, -0.5], [0, 0.5], [0.5, -0.5], [-0.5, -0.5]])  # x, y
    s = np.clip(t[:, None] - np.arange(3), 0, 1)
    path = corners[0] + (6 * s**5 - 15 * s**4 + 10 * s**3) @ np.diff(corners, axis=0)
    scale = min((height - 2 * camera.border) / image.shape[0], (width - 2 * camera.border) / image.shape[1])
    rows, cols = np.mgrid[:height, :width]
    light = [
        map_coordinates(
            image,
            [
                (rows - (height - 1) / 2 - y) / scale + (image.shape[0] - 1) / 2,
                (cols - (width - 1) / 2 - x) / scale + (image.shape[1] - 1) / 2,
            ],
            order=1,
            mode="nearest" if camera.background is None else "grid-constant",
            cval=camera.background or 0,
        )
        for x, y in path
    ]
    return 1000 * camera.saccade_ms * t, np.log(camera.black + (1 - camera.black) * np.array(light))


def brute_force(camera, image):
    """(x, y) -> times and polarities: the first microsecond beyond a threshold, again and again."""
    times, level = seen(camera, image)
    moments = np.arange(camera.duration + 1)
    silent = 1000 * camera.refractory_ms
    found = {}
    for y, x in np.ndindex(camera.size):
        trace = np.interp(moments, times, level[:, y, x])
        reference, now, events = trace[0], 1, []
        while True:
            crossed = (trace[now:] >= reference + camera.theta_on) | (trace[now:] <= reference - camera.theta_off)
            if not crossed.any():
                break
            now += int(crossed.argmax())
            on = trace[now] > reference
            reference += camera.theta_on if on else -camera.theta_off
            exact = now - (trace[now] - reference) / (trace[now] - trace[now - 1])
            events.append((exact, int(on)))
            if silent:
                if exact + silent >= moments[-1]:
                    break
                now = int(np.ceil(exact + silent))
                reference = np.interp(exact + silent, moments, trace)
        found[x, y] = events
    return found


@pytest.mark.parametrize(("refractory", "background"), [(0.0, None), (0.7, None), (0.7, 0.4)])
def test_events_are_those_of_brute_force(refractory, background):
    how = {"theta_on": 0.11, "theta_off": 0.17, "refractory_ms": refractory, "background": background}
    camera = EventCamera(**QUICK, **CLEAN, **how)
    image = picture()
    events, expected = camera(image), brute_force(camera, image)
    assert len(events) == sum(map(len, expected.values())) > 400
    for (x, y), pairs in expected.items():
        here = events[(events.x == x) & (events.y == y)]
        assert here.p.tolist() == [on for _, on in pairs]
        assert np.abs(here.t - [now for now, _ in pairs]).max(initial=0) < 1.01  # rounded down; float32


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_polarities_add_up_to_the_change_of_brightness(seed):
    camera = EventCamera(**QUICK, **CLEAN, refractory_ms=0, theta_on=0.1, theta_off=0.15)
    image = picture(seed)
    sums = Frames(num_steps=1)(camera(image), camera.sensor_size)[0].astype(float)  # [P, H, W]
    _, level = seen(camera, image)
    missing = level[-1] - level[0] - (0.1 * sums[1] - 0.15 * sums[0])
    assert (missing < 0.1 + 1e-5).all()
    assert (missing > -0.15 - 1e-5).all()
    half_way = camera(image)
    half_way = Frames(num_steps=1)(half_way[half_way.t < 4000], camera.sensor_size)[0].astype(float)
    missing = level[20] - level[0] - (0.1 * half_way[1] - 0.15 * half_way[0])  # away from where it began
    assert (missing < 0.1 + 1e-5).all()
    assert (missing > -0.15 - 1e-5).all()


@pytest.mark.parametrize("value", [0.0, 0.4, 1.0])
def test_nothing_is_seen_of_a_uniform_image(value):
    assert len(EventCamera(noise_rate=0)(np.full((3, 20, 30), value))) == 0


def test_twice_the_threshold_gives_half_the_events():
    image = picture(3)
    few, many = (
        len(EventCamera(**CLEAN, refractory_ms=0, theta_on=theta, theta_off=theta)(image)) for theta in (0.1, 0.05)
    )
    assert many / few == pytest.approx(2, rel=0.1)  # at every turn, part of a threshold is lost


def test_an_edge_that_moves_brightens_before_it_and_darkens_behind():
    """A white bar: in the first saccade it moves to the right, in the third back to the left."""
    bar = np.zeros((20, 20))
    bar[:, 8:12] = 1
    events = EventCamera(**CLEAN)(bar)
    for saccade, on_is_right in ((0, True), (1, True), (2, False)):
        now = events[(events.t >= 100_000 * saccade) & (events.t < 100_000 * (saccade + 1))]
        on, off = now.x[now.p == 1].mean(), now.x[now.p == 0].mean()
        assert (on - off > 4) if on_is_right else (off - on > 4)


def test_the_path_is_that_of_the_author_of_nmnist():
    """His function that undoes the motion: (3.5, 7) pixels, then (3.5, -7), then (-7, 0)."""
    path = EventCamera().path(np.array([0, 100e3, 200e3, 300e3]))
    assert np.allclose(np.diff(path, axis=0), [[3.5, 7], [3.5, -7], [-7, 0]])
    speed = np.linalg.norm(np.diff(EventCamera().path(np.linspace(0, 300e3, 301)), axis=0), axis=1)
    assert speed[:5].max() < 0.05 * speed.max()
    assert speed[[50, 150]] == pytest.approx(speed.max(), rel=0.01)


def test_a_recording_is_in_order_and_in_the_sensor():
    camera = EventCamera(size=(20, 31), noise_rate=5, hot_fraction=0.01, hot_rate=300, refractory_ms=1.5)
    events = camera(picture(4), 7)
    assert (np.diff(events.t) >= 0).all()
    assert events.t.min() >= 0
    assert events.t.max() <= camera.duration == 300_000
    assert (events.x.min(), events.x.max(), events.y.min(), events.y.max()) == (0, 30, 0, 19)
    assert [values.dtype for values in (events.t, events.x, events.y, events.p)] == ["int64", "int16", "int16", "uint8"]
    pixel = events.y.astype(int) * 31 + events.x
    order = np.lexsort((events.t, pixel))
    gaps = np.diff(events.t[order])[np.diff(pixel[order]) == 0]
    assert gaps.min() >= 1499  # µs, rounded down


def test_noise_has_its_rate_and_hot_pixels_theirs():
    dark = np.zeros((5, 5))
    camera = EventCamera(noise_rate=20, hot_fraction=10 / 34**2, hot_rate=500, refractory_ms=0)
    recordings = [camera(dark, index) for index in range(20)]
    counts = sum(Frames(num_steps=1)(events, camera.sensor_size)[0].sum(0) for events in recordings)
    rates = np.sort((counts / (20 * 0.3)).ravel())  # Hz
    assert rates[-10:].mean() == pytest.approx(520, rel=0.05)
    assert rates[-11] < 60
    assert rates[:-10].mean() == pytest.approx(20, rel=0.03)
    assert np.concatenate([events.p for events in recordings]).mean() == pytest.approx(0.5, abs=0.02)
    assert np.histogram(np.concatenate([e.t for e in recordings]), 10, (0, 300_000))[0].std() < 0.05 * len(
        recordings[0]
    )


def test_noise_is_an_event_to_its_pixel():
    """A pixel that fires at random every 2 ms loses sight of a change that is slower."""
    camera = {"size": (16, 16), "border": 0, "refractory_ms": 0, "theta_on": 0.3, "theta_off": 0.3, "seed": 2}
    image = np.linspace(0.2, 0.6, 16)[None].repeat(16, 0)
    quiet, noisy = EventCamera(**camera, noise_rate=0), EventCamera(**camera, noise_rate=500)
    assert len(quiet(image)) > 200
    noise = sum(len(noisy(np.zeros((4, 4)), index)) for index in range(5)) / 5
    assert abs(len(noisy(image)) - noise) < 0.02 * noise


def test_thresholds_differ_between_pixels_by_the_mismatch():
    on, off, _ = EventCamera(size=(100, 100), mismatch=0.1, theta_on=0.2, theta_off=0.4).pixels()
    assert (on.mean(), on.std()) == pytest.approx((0.2, 0.02), rel=0.03)
    assert (off.mean(), off.std()) == pytest.approx((0.4, 0.04), rel=0.03)
    assert EventCamera(mismatch=2.0).pixels()[0].min() == pytest.approx(0.025)
    assert abs(np.corrcoef(on, off)[0, 1]) < 0.05


def arrays(events):
    return b"".join(values.tobytes() for values in (events.t, events.x, events.y, events.p))


def test_events_depend_on_camera_image_and_index_only():
    image = picture(5)
    first, _ = arrays(EventCamera()(image, 3)), np.random.default_rng().random()
    assert arrays(EventCamera()(image, 3)) == first
    assert arrays(EventCamera()(image, 4)) != first
    assert arrays(EventCamera(seed=1)(image, 3)) != first
    assert arrays(EventCamera(mismatch=0, noise_rate=0)(image, 3)) == arrays(EventCamera(**CLEAN)(image, 4))


def test_events_are_the_same_on_every_machine():
    """What the machine that wrote this found, without what numpy's generators may change with a release."""
    image = np.add.outer(np.arange(24) * 7, np.arange(28) * 11) % 256
    assert zlib.crc32(arrays(EventCamera(**CLEAN)(image.astype(np.uint8)))) == 1317421240


def test_images_of_any_form():
    image = picture(6)
    grey = arrays(EventCamera()(image))
    assert arrays(EventCamera()(image[None])) == grey
    assert len(EventCamera()(np.stack([image] * 3))) == pytest.approx(len(EventCamera()(image)), rel=0.001)
    shades = (255 * image).astype(np.uint8)
    assert arrays(EventCamera()(shades)) == arrays(EventCamera()(shades / 255))
    green, blue = np.zeros((2, 3, 8, 8))
    green[1, 2:6, 2:6] = blue[2, 2:6, 2:6] = 1
    assert len(EventCamera()(green)) > len(EventCamera()(blue)) > 0


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (np.zeros((2, 8, 8)), r"1 or 3 channels, found \[2, 8, 8\]"),
        (np.zeros(8), r"found \[8\]"),
        (np.zeros((0, 8)), r"found \[0, 8\]"),
        (np.full((8, 8), 200.0), "in 0..1; found float64 from 200.0 to 200.0"),
        (np.full((8, 8), np.nan), "from nan"),
        (np.full((8, 8), -1), "from -1 to -1"),
    ],
)
def test_what_is_no_image_is_refused(image, problem):
    with pytest.raises(ValueError, match=problem):
        EventCamera()(image)


@pytest.mark.parametrize(
    "argument",
    [
        {"size": (0, 5)},
        {"border": 17},
        {"background": 2},
        {"amplitude": -1},
        {"theta_on": 0},
        {"theta_off": float("nan")},
        {"black": 0},
        {"noise_rate": -1},
        {"hot_fraction": 2},
        {"step_ms": 200},
        {"seed": -1},
    ],
)
def test_arguments_out_of_range_are_refused(argument):
    with pytest.raises(ValueError, match=f"{next(iter(argument))}: expected"):
        EventCamera(**argument)
