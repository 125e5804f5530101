"""Checks of images in a network: their channels come last, and layers read them as images to the end."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from nnbackprop.diagnostics.findings import NOT_APPLICABLE, CheckResult, Finding, Level
from nnbackprop.nn.layers import (
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dropout,
    Flatten,
    Identity,
    MaxPool2D,
    Reshape,
    Softmax,
)
from nnbackprop.nn.layers.windows import AxisWindow
from nnbackprop.nn.trace import LayerSummary
from nnbackprop.runs.layer_list import OF_IMAGES

from .experiments import small, unknown_layers
from .probes import DataProbe, ModelProbe

CHANNELS_LAST = (*OF_IMAGES, BatchNorm)  # layers that take the last axis of images for their channels
WITH_WINDOWS = Conv2D, MaxPool2D, AveragePool2D  # that kernels or pools move over
MAX_CHANNELS, MIN_SIDE = 4, 8  # of images that are told from features by their shape
NEIGHBOURS_ALIKE = 0.5  # correlation of values side by side, 0.9 in photographs, about 0 between features
PLANES_SMOOTHER = 0.8  # roughness of planes over that of pixels: neighbours are 1 pixel apart instead of 3
# Of the images' variance. Odd sizes leave a line over in each pooling, up to 14% of 28 x 28. A pixel is read
# weakly on less than 1/1000 as many paths as the most: its gradient is then 1/30, as that of random weights
# grows as the square root. Eight kernels of 3 x 3 on 28 x 28 leave 21% so, ten 37%.
MAX_UNREAD, WEAK = 0.25, 1e-3
MAX_PADDING = 0.75  # of what windows hold: a 3 x 3 kernel on 2 x 2, which VGG has on 32 x 32, reads 56% zeros


def images_channels_first(probe: ModelProbe) -> CheckResult:
    """Images (channels, rows, columns) where layers take (rows, columns, channels)."""
    if (first := _first_of_images(probe)) is None:
        return NOT_APPLICABLE
    x, who = _images(small(probe), first), f"{first.name} takes"
    return _channels_first(x, who) or _planes(x, who)


def planes_of_channels(data: DataProbe) -> CheckResult:
    """Colour images of a data set whose channels are planes, one after the other."""
    shape = data.train.image_shape
    if shape is None or len(shape) != 3 or not data.finite:
        return NOT_APPLICABLE
    x = np.asarray(data.train.inputs[:: max(1, len(data.train.inputs) // 200)][:200], np.float64)
    return _planes(x.reshape(-1, *shape), f"{data.train.source} has")


def _first_of_images(probe: ModelProbe) -> LayerSummary | None:
    """The first layer that takes images, where these are the samples themselves, in another shape at most."""
    shape = probe.dataset.sample_shape
    for s in probe.objective.network.summary(shape):
        if isinstance(s.layer, CHANNELS_LAST):
            return s if len(s.in_shape) == 3 else None
        if not isinstance(s.layer, Reshape | Dropout | Identity):
            break
    return None


def _images(probe: ModelProbe, first: LayerSummary) -> np.ndarray:
    return probe.to_numpy(probe.x).reshape(-1, *first.in_shape)


def _channels_first(x: np.ndarray, who: str) -> Finding | None:
    """A finding for x, read as (n, rows, columns, channels), that is (n, channels, rows, columns)."""
    a, b, c = x.shape[1:]
    if not (a <= MAX_CHANNELS and a < min(b, c) and min(b, c) >= MIN_SIDE):
        return None
    d = x - x.mean(axis=0)
    alike = _correlation(d[..., 1:], d[..., :-1])
    if alike <= NEIGHBOURS_ALIKE and b != c:
        return None
    evidence = f"{who} images of shape ({a}, {b}, {c}) as {a} rows of {b} columns with {c} channels"
    if sure := alike > NEIGHBOURS_ALIKE:
        evidence += f"; values side by side along the last axis have a correlation of {alike:.2f}"
    cause = "The channels come first, as in PyTorch; here they are last."
    return Finding(
        "images-channels-first",
        "fault" if sure else "warning",
        evidence=f"{evidence}.",
        cause=cause if sure else f"By its shape, likely: {cause}",
        fix="inputs = np.moveaxis(inputs, 1, -1)",
    )


def _planes(x: np.ndarray, who: str) -> Finding | None:
    """A finding for x, read as (n, rows, columns, channels), that is stored a channel after the other."""
    n, a, b, c = x.shape
    if not 1 < c <= MAX_CHANNELS or min(a, b) < 2 or n < 2:
        return None
    planes = x.reshape(n, c, a, b)
    down, across = (_roughness(planes, axis + 1) / (_roughness(x, axis) or math.inf) for axis in (1, 2))
    d = planes - planes.mean(axis=0)
    d = d - d.mean(axis=(2, 3), keepdims=True)
    alike = min(_correlation(d[:, 0], d[:, k]) for k in range(1, c))
    if max(down, across) >= PLANES_SMOOTHER or alike <= NEIGHBOURS_ALIKE:
        return None
    return Finding(
        "images-channels-first",
        "fault",
        evidence=(
            f"{who} images of {a} x {b} with {c} channels. Read as {c} planes of {a} x {b}, neighbours differ by "
            f"{down:.0%} and {across:.0%} as much, down and across, and the planes have a correlation of "
            f"{alike:.2f}."
        ),
        cause="Each channel is stored as a plane of its own, and was reshaped as if channels came last.",
        fix=f"inputs = inputs.reshape(-1, {c}, {a}, {b}).transpose(0, 2, 3, 1)",
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    size = math.sqrt(float(np.sum(a * a)) * float(np.sum(b * b)))
    return float(np.sum(a * b)) / size if size else 0.0


def _roughness(x: np.ndarray, axis: int) -> float:
    """The mean square of the difference of neighbours along an axis."""
    d = np.diff(x, axis=axis)
    return float(np.mean(d * d))


def softmax_over_space(probe: ModelProbe) -> CheckResult:
    """A softmax over the places of an image instead of its channels."""
    applies = False
    for t in unknown_layers(probe):
        y = probe.to_numpy(t.y)
        if y.ndim != 4 or y.shape != t.x.shape or (y < 0).any():
            continue
        for axes in ((1,), (2,), (1, 2), (1, 2, 3)):
            sums = y.sum(axis=axes)
            if math.prod(y.shape[axis] for axis in axes) > 1 and np.abs(sums - 1).max() < 1e-3:
                return _softmax_over(t.name, axes)
        applies = applies or bool(np.abs(y.sum(axis=3) - 1).max() < 1e-3)
    layers = probe.objective.network.summary(probe.dataset.sample_shape)
    for before, softmax, after in zip(layers, layers[1:], layers[2:], strict=False):
        if isinstance(softmax.layer, Softmax):
            applies, shape = True, before.in_shape
            if isinstance(before.layer, Flatten) and len(shape) == 3 and math.prod(shape[:2]) > 1:
                return Finding(
                    "softmax-over-space",
                    "warning",
                    evidence=f"{softmax.name} follows {before.name} of {shape[0]} x {shape[1]} places with "
                    f"{shape[2]} channels, and {after.name} follows it.",
                    cause="Likely one over channels was meant: here all places of an image share a sum of 1.",
                    fix="ReLU in its place; or GlobalAveragePool2D before it, for probabilities of classes.",
                )
    return None if applies else NOT_APPLICABLE


def _softmax_over(name: str, axes: tuple[int, ...]) -> Finding:
    listed = f"{'axis' if len(axes) == 1 else 'axes'} {', '.join(map(str, axes))}"
    cause = "Axis 1 is the channels where these come first; here they are last."
    level: Level = "fault"
    if len(axes) > 1:
        level = "warning"
        cause = "Likely a softmax over channels was meant; attention over places is right as it is."
    elif axes == (2,):
        cause = "Axis 2 is the columns of an image; its channels are last."
    return Finding(
        "softmax-over-space",
        level,
        evidence=f"The outputs of {name} sum to 1 over {listed} of (n, rows, columns, channels).",
        cause=cause,
        fix="Over the channels: e / e.sum(axis=3, keepdims=True).",
    )


def image_vanishes(probe: ModelProbe) -> CheckResult:
    """Pixels that hardly an output depends on, and windows of little but padding."""
    first = _first_of_images(probe)
    layers = probe.objective.network.summary(probe.dataset.sample_shape)
    windowed = [s for s in layers if isinstance(s.layer, WITH_WINDOWS)]
    nested = any(len(s.path) > 1 and s.in_shape[:2] != s.out_shape[:2] for s in windowed)
    if first is None or not windowed or nested:
        return NOT_APPLICABLE
    for s in windowed:
        if (zeros := padding_share(s)) > MAX_PADDING:
            return _of_padding(s, zeros)
    x = _images(probe, first)
    variance = x.var(axis=0).sum(axis=2)
    if not variance.any():
        return NOT_APPLICABLE
    chain = [s for s in windowed if len(s.path) == 1]
    paths = np.outer(*(path_counts(chain, axis) for axis in (0, 1))) if chain else np.ones(variance.shape)
    of_all = variance / variance.sum()
    unread, weak = float(of_all[paths == 0].sum()), float(of_all[paths < WEAK * paths.max()].sum())
    if weak <= MAX_UNREAD:
        return None
    return _unread(chain, unread) if unread > weak / 2 else _shrunk(chain, weak)


def path_counts(layers: Sequence[LayerSummary], axis: int) -> np.ndarray:
    """On how many paths each line of the image reaches the last of its windows, the most being 1."""
    counts = np.ones(layers[-1].out_shape[axis])
    for s in reversed(layers):
        window: AxisWindow = s.layer.axis_windows(s.in_shape)[axis]
        padded = np.zeros(window.before + s.in_shape[axis] + window.after)
        for place, count in enumerate(counts):
            begin = place * window.stride
            padded[begin : begin + window.size] += count
        counts = padded[window.before :][: s.in_shape[axis]]
        counts = counts / counts.max()
    return counts


def padding_share(s: LayerSummary) -> float:
    """Of the numbers in a layer's windows, the share that is padding."""
    real = 1.0
    for axis, window in enumerate(s.layer.axis_windows(s.in_shape)):
        begins = np.arange(s.out_shape[axis]) * window.stride - window.before
        inside = np.minimum(begins + window.size, s.in_shape[axis]) - np.maximum(begins, 0)
        real *= float(np.mean(np.maximum(inside, 0))) / window.size
    return 1 - real


def lines_read(s: LayerSummary) -> list[int]:
    """How many rows and columns of its image a layer reads."""
    return [int(np.count_nonzero(path_counts([s], axis))) for axis in (0, 1)]


def vanished(evidence: str) -> Finding:
    """An image of which nothing is left before the last layer of images."""
    return Finding(
        "image-vanishes",
        "fault",
        evidence=evidence,
        cause="A convolution without padding takes kernel - 1 rows and columns away; a pooling divides them.",
        fix='padding=same in convolutions ("conv 32 3x3 padding=same"), smaller kernels, or fewer poolings.',
    )


def _of_padding(s: LayerSummary, zeros: float) -> Finding:
    rows, columns, _ = s.in_shape
    return Finding(
        "image-vanishes",
        "warning",
        evidence=f"On images of {rows} x {columns} the windows of {s.name} are {zeros:.0%} padding.",
        cause="Little of the image is left where the layer stands: nearly all of its weights meet padding alone.",
        fix="Fewer poolings or strides before it, a smaller kernel, or padding=valid.",
    )


def _unread(chain: Sequence[LayerSummary], unread: float) -> Finding:
    worst = min(chain, key=lambda s: math.prod(lines_read(s)) / math.prod(s.in_shape[:2]))
    (rows, columns), shape = lines_read(worst), worst.in_shape
    return Finding(
        "image-vanishes",
        "warning",
        evidence=(
            f"{unread:.0%} of the variance of the images is in pixels that no output depends on: "
            f"{worst.name} reads {rows} of {shape[0]} rows and {columns} of {shape[1]} columns."
        ),
        cause="Lines that fill no window are left over, and a stride larger than the kernel leaves lines between.",
        fix="A stride of at most the kernel's size, padding, or a size that divides the image.",
    )


def _shrunk(chain: Sequence[LayerSummary], weak: float) -> Finding:
    last = chain[-1]
    first, n = chain[0].in_shape, len([s for s in chain if isinstance(s.layer, Conv2D)])
    return Finding(
        "image-vanishes",
        "warning",
        evidence=(
            f"{weak:.0%} of the variance of the images is in pixels that reach {last.name} on less than 1/1000 as "
            f"many paths as those in the middle: {n} convolutions bring {first[0]} x {first[1]} down to "
            f"{last.out_shape[0]} x {last.out_shape[1]}."
        ),
        cause="Without padding each convolution reads the border less often than the middle.",
        fix='padding=same in convolutions: "conv 32 3x3 padding=same".',
    )
