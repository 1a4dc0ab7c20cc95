"""Two recipes of several trainings: the interval of their difference, and which pairs are won."""

import itertools
import math

import numpy as np
import pytest

from common.comparison.recipes import compare_recipes, pairs_won, student_quantile
from tests.simulate_coverage import TRAININGS, WAYS, coverage, read_errors

# Student's t of the probability 0.975 by degrees of freedom, as tables print it.
TABLE = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 10: 2.2281, 30: 2.0423}
TABLE |= {62: 1.9990, 120: 1.9799}


def recipe(of_trainings, of_images, interactions=0.0):
    """Errors [trainings, images, 4]: 100 px, and what a training, an image and both add to them."""
    by_image = 100 + np.array(of_trainings)[:, None] + np.array(of_images) + interactions
    return by_image[..., None] + [-3.0, -1, 1, 3]


def random_recipe(seed, trainings, images):
    return np.random.default_rng(seed).lognormal(2, 1, (trainings, images, 4))


# Student's t


@pytest.mark.parametrize("degrees", TABLE)
def test_a_quantile_of_students_t_is_that_of_the_tables(degrees):
    assert student_quantile(0.975, degrees) == pytest.approx(TABLE[degrees], abs=0.0002)
    assert student_quantile(0.025, degrees) == -student_quantile(0.975, degrees)


def test_other_probabilities_and_broken_degrees_have_their_quantiles():
    assert student_quantile(0.5, 3) == 0
    assert student_quantile(0.75, 1) == pytest.approx(1, abs=1e-4)  # a Cauchy distribution
    assert student_quantile(0.9, 2) == pytest.approx(0.8 * math.sqrt(2 / 0.36), abs=1e-4)
    assert student_quantile(0.995, 10) == pytest.approx(3.1693, abs=1e-4)
    assert student_quantile(0.975, 2.5) == pytest.approx(3.5747, abs=2e-4)  # SciPy's
    assert student_quantile(0.975, 1e5) == pytest.approx(1.9600, abs=1e-4)  # the normal one


# The interval


def ends(difference, error, degrees):
    """The ends of an interval, as textbooks have it."""
    reach = TABLE.get(degrees, student_quantile(0.975, degrees)) * error
    return pytest.approx([difference - reach, difference + reach], rel=1e-4)


def test_where_the_trainings_are_all_alike_it_is_the_paired_interval_of_the_images():
    """By eleven images: 10 degrees of freedom."""
    of_images = np.random.default_rng(1).normal(0, 5, (2, 11))
    *interval, of_images_alone, of_trainings = compare_recipes(
        recipe([0] * 3, of_images[0]), recipe([0] * 2, of_images[1])
    )
    pairs = of_images[0] - of_images[1]
    error = pairs.std(ddof=1) / math.sqrt(11)
    assert interval == ends(pairs.mean(), error, 10)
    assert of_images_alone == pytest.approx(error)
    assert of_trainings == pytest.approx(0, abs=1e-7)


def test_where_the_images_are_all_alike_it_is_students_interval_of_the_trainings():
    """Of three and three with the same spread: 4 degrees of freedom."""
    *interval, of_images, of_trainings = compare_recipes(
        recipe([3, 5, 7], [0] * 12), recipe([0, 2, 4], [0] * 12)
    )
    error = math.sqrt(4 / 3 + 4 / 3)
    assert interval == ends(3, error, 4)
    assert of_images == pytest.approx(0, abs=1e-7)
    assert of_trainings == pytest.approx(error)


def test_unequal_numbers_and_spreads_of_trainings_have_the_degrees_of_welch():
    first, second = [0.0, 8, 1, 5, 6], [2.0, 3]
    *interval, _, _ = compare_recipes(recipe(first, [0] * 12), recipe(second, [0] * 12))
    parts = [np.var(first, ddof=1) / 5, np.var(second, ddof=1) / 2]
    welch = sum(parts) ** 2 / (parts[0] ** 2 / 4 + parts[1] ** 2 / 1)
    assert interval == ends(4 - 2.5, math.sqrt(sum(parts)), welch)


def test_the_variances_of_images_and_trainings_are_added_less_their_interaction():
    """The analysis of variance by hand, of three trainings and two in twenty images."""
    recipes = [random_recipe(1, 3, 20), random_recipe(2, 2, 20)]
    recipes[1] += np.random.default_rng(3).normal(4, 3, (2, 1, 1))  # more than what is subtracted
    means = [one.mean(axis=2) for one in recipes]
    by_image = means[0].mean(axis=0) - means[1].mean(axis=0)
    parts, degrees = [np.var(by_image, ddof=1) / 20], [19]
    interactions = []
    for of_one in means:
        number = len(of_one)
        parts.append(np.var(of_one.mean(axis=1), ddof=1) / number)
        degrees.append(number - 1)
        squares = 0
        for k, i in itertools.product(range(number), range(20)):
            rest = of_one[k, i] - of_one[k].mean() - of_one[:, i].mean() + of_one.mean()
            squares += rest**2
        interactions.append(squares / ((number - 1) * 19) / (number * 20))
    variance = sum(parts) - sum(interactions)
    assert variance > max(parts[0], parts[1] + parts[2])
    spread = sum(p**2 / d for p, d in zip(parts, degrees))
    spread += interactions[0] ** 2 / (2 * 19) + interactions[1] ** 2 / (1 * 19)
    *interval, of_images, of_trainings = compare_recipes(*recipes)
    assert of_images == pytest.approx(math.sqrt(parts[0]))
    assert of_trainings == pytest.approx(math.sqrt(parts[1] + parts[2]))
    difference = recipes[0].mean() - recipes[1].mean()
    assert interval == ends(difference, math.sqrt(variance), max(variance**2 / spread, 1))


def test_the_standard_error_is_never_below_that_of_the_images_or_of_the_trainings():
    waves = np.array([1.0, -1] * 10)
    mirrored = 9 * np.array([waves, -waves])  # an interaction that the mean of two trainings lacks
    steps = np.arange(20.0)
    for of_trainings, of_images, error in (
        ([0, 0], steps, steps.std(ddof=1) / math.sqrt(20)),
        ([0, 6], 0 * steps, 3),
    ):
        low, high, *errors = compare_recipes(
            recipe(of_trainings, of_images, mirrored), recipe([0, 0], 0 * steps)
        )
        assert max(errors) == pytest.approx(error)
        assert min(errors) == pytest.approx(0, abs=1e-7)
        assert (high - low) / 2 > 1.99 * error


def test_the_degrees_of_freedom_are_at_least_those_of_the_recipe_with_the_fewest_trainings():
    """Here the sum of the squares would give fewer than 1."""
    waves = np.array([1.0, -1] * 10)
    *interval, _, _ = compare_recipes(
        recipe([0, 6], [0] * 20, 9 * np.array([waves, -waves])), recipe([0, 0, 0], [0] * 20)
    )
    assert interval == ends(3, 3, 1)


def test_without_any_spread_the_interval_is_the_difference():
    result = compare_recipes(recipe([0] * 3, [0] * 10), recipe([0] * 4, [0] * 10) + 2)
    assert result == pytest.approx((-2, -2, 0, 0))


def test_an_image_counts_by_how_many_landmarks_it_has():
    recipes = [random_recipe(1, 2, 12), random_recipe(2, 3, 12)]
    for one in recipes:
        one[:, :3, 1:] = np.nan  # three images have one landmark, four have three, five have four
        one[:, 3:7, 2] = np.nan
    counts = np.repeat([1, 3, 4], [3, 4, 5])
    low, high, of_images, of_trainings = compare_recipes(*recipes)
    difference = np.nanmean(recipes[0]) - np.nanmean(recipes[1])
    assert (low + high) / 2 == pytest.approx(difference)
    by_image = [np.nanmean(one, axis=2).mean(axis=0) for one in recipes]
    off = counts / counts.mean() * (by_image[0] - by_image[1] - difference)
    assert of_images == pytest.approx(off.std(ddof=1) / math.sqrt(12))
    means = [np.nanmean(one, axis=(1, 2)) for one in recipes]
    variance = np.var(means[0], ddof=1) / 2 + np.var(means[1], ddof=1) / 3
    assert of_trainings == pytest.approx(math.sqrt(variance))


def test_trainings_that_only_shift_all_errors_have_no_interaction_where_landmarks_are_missing():
    """So the squares of both standard errors add up."""
    recipes = [
        random_recipe(1, 1, 12) + np.array([[[0]], [[2]]]),
        random_recipe(2, 1, 12) + np.array([[[1]], [[4]]]),
    ]
    for one in recipes:
        one[:, :5, 1:] = np.nan
    low, high, of_images, of_trainings = compare_recipes(*recipes)
    variance = of_images**2 + of_trainings**2
    parts = (1 / 1, 9 / 4)  # of the trainings: [0, 2] and [1, 4]
    assert of_trainings**2 == pytest.approx(sum(parts))
    degrees = variance**2 / (of_images**4 / 11 + sum(part**2 for part in parts))
    assert [low, high] == ends((low + high) / 2, math.sqrt(variance), degrees)


def test_an_image_without_any_landmark_changes_nothing():
    recipes = [random_recipe(1, 2, 12), random_recipe(2, 3, 12)]
    more = [np.insert(one, 4, np.nan, axis=1) for one in recipes]
    assert compare_recipes(*more) == compare_recipes(*recipes)


@pytest.mark.slow
def test_the_interval_holds_the_true_difference_in_93_to_98_percent():
    errors = read_errors()
    for share, trainings in itertools.product(WAYS.values(), TRAININGS):
        held, _ = coverage(errors, share, trainings, 2000)
        assert 93 <= held <= 98, (share, trainings)


# Pairs of trainings


def test_whoever_wins_all_pairs_is_as_rare_as_the_divisions_say():
    assert pairs_won([1, 2, 3], [4, 5, 6]) == (9, 1 / 10)
    assert pairs_won([5, 6, 7, 8], [1, 2, 3, 4]) == (0, 1 / 35)
    assert pairs_won([1, 2, 3, 9], [4, 5]) == (6, 8 / 15)
    assert pairs_won(range(13), range(13, 26)) == (169, 2 / math.comb(26, 13))
    assert pairs_won(range(40), range(40, 80)) == (1600, 2 / math.comb(80, 40))


def test_ties_count_half():
    assert pairs_won([1.0], [1.0]) == (0.5, 1)
    assert pairs_won([1, 2], [2, 3]) == (3.5, 4 / 6)


def by_hand(first, second):
    """Pairs won, and the share of the divisions that are as far from half, by trying each."""
    means = [*first, *second]

    def won(group):
        others = [means[i] for i in range(len(means)) if i not in group]
        return sum((a < b) + (a == b) / 2 for a in (means[i] for i in group) for b in others)

    half = len(first) * len(second) / 2
    observed = won(range(len(first)))
    all_won = [won(group) for group in itertools.combinations(range(len(means)), len(first))]
    as_far = sum(abs(w - half) >= abs(observed - half) for w in all_won)
    return observed, as_far / len(all_won)


@pytest.mark.parametrize("sizes", [*itertools.product(range(1, 5), repeat=2)])
def test_pairs_and_divisions_are_those_by_hand(sizes):
    random = np.random.default_rng(0)
    for values in (3, 1000):  # with many ties and without
        groups = [random.integers(values, size=size).astype(float) for size in sizes]
        assert pairs_won(*groups) == by_hand(*groups)
