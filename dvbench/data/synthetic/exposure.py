"""From a painted canvas to a photograph: clouds, haze, the light of the day, blur and noise."""

import numpy as np
from numpy.typing import NDArray

from dvbench.data.synthetic.canvas import Canvas, Colour
from dvbench.data.synthetic.dice import Dice, Field, fractal
from dvbench.data.synthetic.shapes import moved

IGNORE = 255
HARDEST = 3
CLOUD: Colour = (238, 240, 244)
HAZE: Colour = (176, 184, 196)
_CLOUD_SHADOW: Colour = (20, 26, 38)


def expose(canvas: Canvas, grain: Field, dice: Dice, *, difficulty: int, sun: int) -> NDArray[np.uint8]:
    """Photograph a canvas.

    Pixels that clouds hide become `IGNORE` in the canvas' surface and lose their owner.

    Args:
        canvas: The painted scene.
        grain: Texture of everything, int32 (S, S).
        dice: Random numbers of this exposure.
        difficulty: From 0, clear and calm, to 3: clouds, haze, odd colours and noise.
        sun: Where shadows point.

    Returns:
        uint8 (S, S, 3), RGB.
    """
    pixels = canvas.pixels
    pixels += (pixels * (grain // 6)[..., None]) >> 8
    if difficulty:
        _clouds(canvas, dice, difficulty, sun)
    canvas.cover(HAZE, 20 * difficulty)
    for channel in range(3):
        gain = 256 + dice.integer(-10, 10) * difficulty
        pixels[..., channel] = pixels[..., channel] * gain >> 8
    pixels = _blurred(pixels)
    strength = 5 + 5 * difficulty
    size = canvas.size
    pixels += (dice.octets(size, size * 3).reshape(size, size, 3) * strength) >> 8
    return pixels.clip(0, 255).astype(np.uint8)


def _clouds(canvas: Canvas, dice: Dice, difficulty: int, sun: int) -> None:
    """Clouds and their shadows over part of the scene; half of all scenes have none."""
    if dice.chance(1, 2):
        return
    size = canvas.size
    shift = max(size // 10, 1)
    thickness = fractal(dice, size + 2 * shift, 256, 4)
    hidden = size * size * dice.integer(1, 8 * difficulty) // 100
    limit = int(np.partition(thickness[shift:-shift, shift:-shift], -hidden, axis=None)[-hidden])
    opacity = (128 + (thickness - limit) * 4).clip(0, 250)
    x, y = moved((shift, shift), sun, -shift)
    canvas.cover(_CLOUD_SHADOW, opacity[y : y + size, x : x + size] * 3 // 8)
    clouds = opacity[shift:-shift, shift:-shift]
    canvas.cover(CLOUD, clouds)
    canvas.surface[clouds > 128] = IGNORE
    canvas.owner[clouds > 128] = 0


def _blurred(pixels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The blur of the optics: weights 1, 4, 1 along each axis."""
    for _ in range(2):
        padded = np.concatenate([pixels[:1], pixels, pixels[-1:]])
        pixels = ((padded[:-2] + padded[2:] + 4 * pixels) // 6).transpose(1, 0, 2)
    return np.ascontiguousarray(pixels)
