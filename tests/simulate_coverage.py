"""Simulate how often the interval of two recipes' difference holds the true one.

    python -m tests.simulate_coverage [--repetitions 2000] [--errors pred_second_px256]

It takes the real errors of 63 images from the reference tables: those of a training of Hypothesis 3
without --augment and of one with it. In each repetition 63 of these images are drawn with
replacement, and the trainings anew: each shifts the errors of its recipe at random, so that their
mean over the 63 images has the spread that three seeds of Hypothesis 3 have shown. The true
difference, over all images of this kind and all seeds, is that of the two tables.

Printed on 29 Nov 2026, in % (in brackets: by the interval over the images alone); with 2,000
repetitions a figure is exact to about 1 %:

    a seed shifts           3 trainings  4 trainings  5 trainings
    all images alike          95.1 (88)    95.5 (91)    94.8 (91)
    each image by itself      96.8 (95)    96.4 (95)    96.0 (96)
    half and half             96.2 (93)    95.7 (93)    95.9 (94)

The same with --errors pred_second_px256, by HC18's annotations:

    all images alike          94.5 (88)    94.3 (90)    94.0 (91)
    each image by itself      95.4 (93)    95.4 (94)    94.5 (94)
    half and half             94.7 (91)    94.4 (92)    94.2 (92)
"""

from argparse import ArgumentParser

import numpy as np
import pandas as pd

from common.comparison.recipes import compare_recipes, student_quantile
from tests.conftest import ROOT

TABLES = ("h3_30_epochs.csv", "h3_augment_30_epochs.csv")
SPREAD = np.std([19.55, 20.31, 22.14], ddof=1)  # px, between the means of three seeds
# How much of the variance of a shift is common to all images.
WAYS = {"all images alike": 1.0, "each image by itself": 0.0, "half and half": 0.5}
TRAININGS = (3, 4, 5)  # of each recipe


def read_errors(column="error_px256"):
    """The errors of both tables: two [63, 4]."""
    tables = [pd.read_csv(ROOT / "tests/reference/results" / name) for name in TABLES]
    landmarks = ("ofd_1", "ofd_2", "bpd_1", "bpd_2")
    return [table[[f"{name}_{column}" for name in landmarks]].to_numpy() for table in tables]


def draw_recipe(random, errors, share_in_common, trainings):
    """The errors of a recipe, [trainings, images, 4], from those of its table in the images that
    were drawn."""
    images = len(errors)
    of_training = random.normal(0, SPREAD, (trainings, 1))
    of_image = random.normal(0, SPREAD * np.sqrt(images), (trainings, images))
    shifts = np.sqrt(share_in_common) * of_training + np.sqrt(1 - share_in_common) * of_image
    return errors + shifts[..., None]


def coverage(errors, share_in_common, trainings, repetitions):
    """In how many % of the repetitions the interval holds the true difference, and in how many that
    over the images alone does."""
    random = np.random.default_rng(42)
    truth = errors[0].mean() - errors[1].mean()
    images = len(errors[0])
    factor = student_quantile(0.975, images - 1)
    held = np.zeros((repetitions, 2))
    for i in range(repetitions):
        drawn = random.integers(images, size=images)
        recipes = [draw_recipe(random, one[drawn], share_in_common, trainings) for one in errors]
        low, high, images_error, _ = compare_recipes(*recipes)
        off = abs((low + high) / 2 - truth)
        held[i] = low <= truth <= high, off <= factor * images_error
    return tuple(100 * held.mean(axis=0))


def main():
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--errors", default="error_px256", help="of each landmark, which column")
    args = parser.parse_args()
    errors = read_errors(args.errors)
    print("a seed shifts         " + "".join(f"{n:>3} trainings" for n in TRAININGS))
    for way, share in WAYS.items():
        cells = [coverage(errors, share, n, args.repetitions) for n in TRAININGS]
        print(f"{way:22}" + "".join(f"{both:8.1f} ({alone:.0f})" for both, alone in cells))


if __name__ == "__main__":
    main()
