"""An event camera looking at a still image: what N-MNIST did with a camera on a motor, computed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import Events, SensorSize
from .compiled import compiled

CORNERS = np.array([(0.0, 0.0), (0.5, 1.0), (1.0, 0.0), (0.0, 0.0)]) - 0.5  # x to the right, y down
LUMINANCE = (0.2126, 0.7152, 0.0722)  # of red, green and blue: ITU-R BT.709


@dataclass(frozen=True)
class EventCamera:
    """Still image -> `Events`: the image moves over the sensor, and every pixel tells when its brightness changes.

    Motion, three saccades around a triangle, as in N-MNIST; the image is at c(t), from the centre of the sensor::

        c(t) = c_k + (c_k+1 - c_k) s(t / saccade_ms - k)  for k = 0, 1, 2,  s(u) = 10 u^3 - 15 u^4 + 6 u^5
        c_0..3 = amplitude * (-1/2, -1/2), (0, 1/2), (1/2, -1/2), (-1/2, -1/2)  x to the right, y down

    Brightness of a pixel, of the image in 0..1 (bilinear between pixels; around it `background`), and events::

        L(t) = ln(black + (1 - black) * image)
        ON at t if L(t) >= R + theta_on,  OFF at t if L(t) <= R - theta_off
        R = L(0) at first;  R = L(t + refractory_ms) after an event at t, until which the pixel is silent

    L is rendered every `step_ms` and taken as linear in between; t is where it crosses, rounded down to whole µs. The
    thresholds of a pixel are theta * (1 + mismatch * n), n normal, at least 0.1 theta. Noise events come at random
    (Poisson), ON and OFF alike, and are events to their pixel: it is silent after them, and R is set.
    With refractory_ms = 0, mismatch = 0 and noise_rate = hot_rate = 0, theta_on #ON - theta_off #OFF of a pixel is
    L(end) - L(0) to within one threshold.

    Known of N-MNIST: three saccades of 100 ms in a triangle (the paper); the image moves by (3.5, 7), (3.5, -7) and
    (-7, 0) pixels (its author's function that undoes the motion). Measured on its recordings: events come in three
    bursts of 45 ms around 50, 150 and 255 ms, as of s(u); 98 % of a pixel's events are 1.9 ms or more apart.
    Assumed: s(u), mismatch, `black`, and thresholds that give the 9 events per active pixel of N-MNIST. Left out: the
    finite bandwidth of a real pixel, its leak (ON events at rest), and that noise grows in the dark.

    Events depend on the camera, the image and the index and on nothing else, neither machine nor process: brightness is
    rounded to float32, which hides the last digits of a logarithm, where machines differ.

    Args:
        size: H and W of the sensor, pixels.
        background: Brightness around the image, 0..1; None: that of its edge, continued outwards.
        border: Pixels between the image, enlarged or reduced as a whole until it fits, and the edge of the sensor.
        amplitude: Width and height of the triangle, pixels of the sensor.
        saccade_ms: Duration of each of the three saccades, ms.
        theta_on: Contrast threshold of brighter, change of ln(brightness).
        theta_off: Contrast threshold of darker.
        mismatch: Standard deviation of the thresholds over pixels, as a part of the threshold.
        refractory_ms: For how long a pixel is silent after an event, ms.
        black: Brightness of black as a part of that of white; what stops ln from reaching minus infinity.
        noise_rate: Noise events of every pixel, Hz.
        hot_fraction: Part of the pixels that are hot.
        hot_rate: Noise events of a hot pixel, Hz, in addition.
        step_ms: Time between two renderings, ms; in it the image should move by much less than a pixel.
        seed: Of the pixels' thresholds and of which are hot, and, with the index of the image, of its noise.

    Raises:
        ValueError: If an argument is out of its range, or the image is no image.

    >>> camera = EventCamera(noise_rate=0)
    >>> len(camera(np.full((8, 8), 0.5)))  # nothing moves that could be seen
    0
    >>> square = np.zeros((8, 8), np.uint8)
    >>> square[2:6, 2:6] = 255
    >>> events = camera(square)
    >>> events.sensor_size, 1000 < len(events) < 10_000
    ((34, 34, 2), True)

    Source: G. Orchard et al. 2015, "Converting static image datasets to spiking neuromorphic datasets using saccades",
    doi:10.3389/fnins.2015.00437; pixels: H. Rebecq et al. 2018, "ESIM: an open event camera simulator"; Y. Hu et al.
    2021, "v2e: from video frames to realistic DVS events", arXiv:2006.07722. Where ESIM and v2e move R by theta through
    the silent time and drop the events that fall into it, R here follows L, as in a pixel that is held in reset.
    """

    size: tuple[int, int] = (34, 34)
    background: float | None = None
    border: float = 3.0
    amplitude: float = 7.0
    saccade_ms: float = 100.0
    theta_on: float = 0.25
    theta_off: float = 0.25
    mismatch: float = 0.03
    refractory_ms: float = 2.0
    black: float = 0.1
    noise_rate: float = 0.1
    hot_fraction: float = 0.0
    hot_rate: float = 0.0
    step_ms: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        smallest = 0.001  # ms: times are in whole µs
        for name, value, low, high in (
            ("size", min(self.size), 1, 2**15 - 1),
            ("size", max(self.size), 1, 2**15 - 1),
            ("background", self.background or 0, 0, 1),
            ("border", self.border, 0, (min(self.size) - 1) / 2),
            ("amplitude", self.amplitude, 0, np.inf),
            ("saccade_ms", self.saccade_ms, smallest, np.inf),
            ("theta_on", self.theta_on, 1e-3, np.inf),
            ("theta_off", self.theta_off, 1e-3, np.inf),
            ("mismatch", self.mismatch, 0, np.inf),
            ("refractory_ms", self.refractory_ms, 0, np.inf),
            ("black", self.black, 1e-6, 1),
            ("noise_rate", self.noise_rate, 0, 1e6),
            ("hot_fraction", self.hot_fraction, 0, 1),
            ("hot_rate", self.hot_rate, 0, 1e6),
            ("step_ms", self.step_ms, smallest, self.saccade_ms),
            ("seed", self.seed, 0, np.inf),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name}: expected {low} to {high}, found {value}.")

    @property
    def sensor_size(self) -> SensorSize:
        """W, H and the two polarities."""
        return self.size[1], self.size[0], 2

    @property
    def duration(self) -> int:
        """Of a recording, µs."""
        return round(3000 * self.saccade_ms)

    def __call__(self, image: ArrayLike, index: int = 0) -> Events:
        """Events of an image, in order of time.

        Args:
            image: [H', W'] or [C, H', W'], C = 1 or 3: uint8, or numbers in 0..1, proportional to brightness.
            index: Number of the image in its dataset: images of different numbers have different noise.
        """
        times, level = self.brightness(image)
        level = level.reshape(len(times), -1).T.copy()  # [H W, S]: the times of a pixel side by side
        on, off, rate = self.pixels()
        noise = self.noise(rate, index)
        found, capacity = 16 * len(on), 0
        while found > capacity:  # once; once more, with room for all, if there are more than expected
            capacity = found
            t, pixel, p = np.empty(capacity, np.int64), np.empty(capacity, np.int64), np.empty(capacity, np.uint8)
            found = fire(level, times, (on, off), 1000 * self.refractory_ms, noise, (t, pixel, p))
        order = np.argsort(t[:found], kind="stable")
        y, x = np.divmod(pixel[order], self.size[1])
        return Events(t[order], x.astype(np.int16), y.astype(np.int16), p[order], self.sensor_size)

    def path(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """c(t) [n, 2]: x and y of the image, pixels from the centre of the sensor, at times [n] in µs."""
        saccade = np.minimum(t // (1000 * self.saccade_ms), 2).astype(int)
        u = (t / (1000 * self.saccade_ms) - saccade)[:, None]
        return self.amplitude * (CORNERS[saccade] + (CORNERS[saccade + 1] - CORNERS[saccade]) * smooth(u))

    def brightness(self, image: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Times [S], µs, and L [S, H, W] at them."""
        light = luminance(image)
        times = np.linspace(0, self.duration, round(np.ceil(3 * self.saccade_ms / self.step_ms)) + 1)
        (height, width), path = self.size, self.path(times)
        scale = min((side - 2 * self.border) / pixels for side, pixels in zip(self.size, light.shape, strict=True))
        if self.background is not None:
            light = np.pad(light, 1, constant_values=self.background)
        # The pixel of the image, counted from the centre of its first one, that is seen by each column and row.
        u = (np.arange(width) + 0.5 - width / 2 - path[:, :1]) / scale + light.shape[1] / 2 - 0.5
        v = (np.arange(height) + 0.5 - height / 2 - path[:, 1:]) / scale + light.shape[0] / 2 - 0.5
        seen = np.empty((len(times), height, width))
        look(light, np.clip(u, 0, light.shape[1] - 1), np.clip(v, 0, light.shape[0] - 1), seen)
        return times, np.log(self.black + (1 - self.black) * seen).astype(np.float32)

    def pixels(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Of every pixel [H W]: thresholds ON and OFF, and noise events, Hz. They belong to the camera."""
        draw, count = np.random.default_rng([self.seed]), self.size[0] * self.size[1]
        on, off = (
            theta * np.maximum(1 + self.mismatch * draw.standard_normal(count), 0.1)
            for theta in (self.theta_on, self.theta_off)
        )
        hot = draw.permutation(count) < round(self.hot_fraction * count)
        return on, off, self.noise_rate + self.hot_rate * hot.astype(np.float64)

    def noise(self, rate: NDArray[np.float64], index: int) -> tuple[NDArray[Any], ...]:
        """Noise of a recording, pixel after pixel: end of each [H W], times in µs [n] and polarities [n]."""
        draw = np.random.default_rng([self.seed, index])
        counts = draw.poisson(rate * self.duration / 1e6)
        t = draw.uniform(0, self.duration, counts.sum())
        t = t[np.lexsort((t, np.repeat(np.arange(len(rate)), counts)))]
        return np.cumsum(counts), t, draw.integers(2, size=len(t), dtype=np.uint8)


def smooth(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 0 to 1 with the least jerk: at rest at both ends."""
    return u * u * u * (10 - 15 * u + 6 * u * u)


def luminance(image: ArrayLike) -> NDArray[np.float64]:
    """Brightness [H, W] in 0..1 of an image."""
    array = np.asarray(image)
    light = array / 255 if array.dtype == np.uint8 else array.astype(np.float64)
    if light.ndim == 3 and len(light) in (1, 3):
        light = (
            light[0] if len(light) == 1 else sum(weight * part for weight, part in zip(LUMINANCE, light, strict=True))
        )
    if light.ndim != 2 or not light.size:
        raise ValueError(f"image: expected [H, W] or [C, H, W] with 1 or 3 channels, found {list(array.shape)}.")
    if not (light.min() >= 0 and light.max() <= 1 + 1e-6):
        raise ValueError(
            f"image: expected uint8, or numbers in 0..1; found {array.dtype} from {array.min()} to {array.max()}."
        )
    return np.ascontiguousarray(light)


@compiled
def look(light: Any, u: Any, v: Any, seen: Any) -> None:
    """Fill seen [S, H, W] with the light [h, w] at columns u [S, W] and rows v [S, H], bilinear."""
    steps, height, width = seen.shape
    for k in range(steps):
        for i in range(height):
            top = int(v[k, i])
            bottom, down = min(top + 1, light.shape[0] - 1), v[k, i] - top
            for j in range(width):
                left = int(u[k, j])
                right, along = min(left + 1, light.shape[1] - 1), u[k, j] - left
                above = light[top, left] + along * (light[top, right] - light[top, left])
                below = light[bottom, left] + along * (light[bottom, right] - light[bottom, left])
                seen[k, i, j] = above + down * (below - above)


@compiled
def fire(level: Any, times: Any, thresholds: Any, refractory: Any, noise: Any, events: Any) -> int:
    """Write the events, pixel after pixel, into three arrays as far as they fit; their number, even if they do not.

    level [pixels, S] at times [S]; thresholds ON and OFF [pixels]; noise: see `EventCamera.noise`; events: t, pixel, p.
    """
    (on, off), (ends, moments, signs), (t, pixel, p) = thresholds, noise, events
    count = 0
    following = 0  # noise event
    for i in range(len(on)):
        reference, silent_until, silent = float(level[i, 0]), 0.0, False
        for k in range(len(times) - 1):
            start, stop, first, last = times[k], times[k + 1], float(level[i, k]), float(level[i, k + 1])
            slope = (last - first) / (stop - start)
            while True:
                if silent:
                    if silent_until >= stop:
                        break
                    reference, silent = first + slope * (silent_until - start), False
                    while following < ends[i] and moments[following] < silent_until:
                        following += 1
                when, sign, reached = np.inf, 0, reference
                if last >= reference + on[i]:
                    sign, reached = 1, reference + on[i]
                elif last <= reference - off[i]:
                    sign, reached = 0, reference - off[i]
                if reached != reference:
                    when = start + (reached - first) / slope
                if following < ends[i] and moments[following] < min(when, stop):
                    when, sign = moments[following], signs[following]
                    reached = first + slope * (when - start)
                    following += 1
                if when == np.inf:
                    break
                if count < len(t):
                    t[count], pixel[count], p[count] = int(when), i, sign
                count += 1
                reference = reached
                if refractory > 0:
                    silent, silent_until = True, when + refractory
        following = ends[i]
    return count
