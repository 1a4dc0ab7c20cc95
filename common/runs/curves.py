"""The pictures of a run: its training curves, and examples of the augmentation."""

from typing import Any

import numpy as np
import torch

from common.augmentation import Augment
from common.basics import drawing
from common.images import LandmarkImages

MARGIN = 3  # % beside the curves, so that the frame cuts off no line and no star


def draw_curves(run: dict[str, Any], path: str) -> None:
    """Draw by epoch the losses, the share of validation landmarks within 10 px, and the learning
    rate, the best epoch marked. run: that of checkpoint.new_run, of one epoch or more."""
    epochs = np.arange(1, len(run["train_losses"]) + 1)
    within = 100 * np.array(run["val_within_10_px"])
    picture = drawing.new_picture(18, 5)
    left, middle, right = axes = picture.subplots(1, 3)
    left.plot(epochs, run["train_losses"], ".-", label="training")
    left.plot(epochs, run["val_losses"], ".-", label="validation")
    left.set(title="Loss", ylabel="loss (log scale)", yscale="log")
    middle.plot(epochs, within, ".-", color="tab:orange", label="validation")
    middle.set(title="Landmarks within 10 px", ylabel="%", ylim=(-MARGIN, 100 + MARGIN))
    right.plot(epochs, run["learning_rates"], ".-", color="tab:green")
    highest = max(run["learning_rates"]) / 100
    right.set(title="Learning rate", ylabel="learning rate", ylim=(-MARGIN * highest, None))
    best = int(np.argmin(run["val_losses"]))
    best_loss, name = run["val_losses"][best], f"in epoch {epochs[best]}"
    left.plot(epochs[best], best_loss, "k*", ms=11, label=f"best: {best_loss:.5f} {name}")
    middle.plot(epochs[best], within[best], "k*", ms=11, label=f"{within[best]:.1f} % {name}")
    last = max(len(epochs), 2)
    margin = max(0.5, MARGIN / 100 * last)
    for axis in axes:
        axis.set(xlabel="epoch", xlim=(1 - margin, last + margin))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    left.legend()
    middle.legend()
    drawing.save_picture(picture, path)


def draw_augmentation(data: LandmarkImages, augment: Augment, seed: int, path: str) -> None:
    """Draw eight augmented versions of the first image with its landmarks."""
    device = data.images.device
    eight_times = data.batch(torch.zeros(8, dtype=torch.long, device=device))
    changed = augment(*eight_times, torch.Generator(device).manual_seed(seed))
    images, landmarks = (part.cpu() for part in changed)
    picture = drawing.new_picture(16, 9)
    picture.suptitle("Augmented versions of one training image")
    for number, axis in enumerate(picture.subplots(2, 4).flat):
        drawing.show_image(axis, images[number])
        drawing.mark_landmarks(axis, landmarks[number], "ground truth")
        axis.set_title(f"version {number + 1}")
    drawing.add_legend(picture, picture.axes)
    drawing.save_picture(picture, path)
