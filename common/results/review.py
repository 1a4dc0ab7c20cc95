"""The review flag: which images are to be looked at again, by which rule, and what that finds."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd

from common.ground_truth import NAME_COLUMN, landmark_values
from common.results.metrics import errors_of

REVIEW_ERROR = 20  # px at 256×256 (report, "Recommendations for clinical use")
SHARE_TO_FIND = 0.8  # of the landmarks that are farther off, by the review flag
MAX_NAMES_SHOWN = 20


def review_rules(table: pd.DataFrame, limit: float, trusted: np.ndarray) -> dict[str, np.ndarray]:
    """Return which images of a tester's table each rule flags for review: name → bool [N].

    limit: the confidence that every landmark of an image must reach. trusted: bool [4], the
    landmarks that count; one that the network never learned flags no image.
    """
    values = landmark_values(table, "confidence", "spread_px256")[:, trusted]
    confidences, spreads = values[..., 0], values[..., 1]
    rules = {}
    if trusted.all():  # or it is not known
        rules["implausible prediction"] = ~table["prediction_plausible"].to_numpy(bool)
    if not np.isnan(spreads).all():  # a single network has none
        rules[f"spread above {REVIEW_ERROR} px"] = (spreads > REVIEW_ERROR).any(axis=1)
    is_sure = (confidences >= limit).all(axis=1)  # NaN is flagged too
    rules[f"confidence below {limit:g}"] = ~is_sure
    return rules


def needs_review(table: pd.DataFrame, limit: float, trusted: np.ndarray) -> np.ndarray:
    """Return which images are flagged by any of the review_rules: bool [N]."""
    return np.any(list(review_rules(table, limit, trusted).values()), axis=0)


def choose_review_confidence(table: pd.DataFrame, trusted: np.ndarray) -> float | None:
    """Return the lowest limit of the confidence, in steps of 0.05, at which review_rules together
    flag the images of at least 80 % of the landmarks more than 20 px off; None where no limit does.

    table: of validation images; those with a plausible annotation count.
    """
    table = table[is_plausible_row(table)]
    wrong = errors_of(table)[:, trusted] > REVIEW_ERROR
    enough = SHARE_TO_FIND * wrong.sum()
    for limit in np.arange(0, 1.05, 0.05).round(2):
        found = wrong[needs_review(table, limit, trusted)].sum()
        if 0 < enough <= found:
            return limit
    return None


def is_plausible_row(table: pd.DataFrame) -> np.ndarray:
    """Return which rows have a plausible annotation: bool [N], False where that is not known."""
    return table["annotation_plausible"].fillna(False).to_numpy(bool)


def groups(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the groups of images of which figures are given besides those of all: bool [N]."""
    return {
        "not flagged for review": ~table["review"].to_numpy(bool),
        "plausible annotation": is_plausible_row(table),
    }


def describe_review(table: pd.DataFrame, trusted: np.ndarray) -> str:
    """Say which images of a tester's table are flagged, by which rule, least confident first, and
    what that finds; for validation images, which limit of the confidence would do."""
    flagged, limit = table["review"].to_numpy(bool), table["review_confidence"].iloc[0]
    wrong = errors_of(table)[:, trusted] > REVIEW_ERROR
    lines = [f"Review: {flagged.sum()} of {len(flagged)} images flagged"]
    far_off = f"of the {wrong.sum()} landmarks more than {REVIEW_ERROR} px off"
    for rule, is_flagged in {**review_rules(table, limit, trusted), "together": flagged}.items():
        found = f", with {wrong[is_flagged].sum()} {far_off}" if wrong.any() else ""
        lines.append(f"  {rule:<26}{is_flagged.sum():5d} images{found}")
    wrapper = textwrap.TextWrapper(78, "  ", "  ", break_long_words=False)
    if flagged.any():
        lowest = landmark_values(table[flagged], "confidence")[:, trusted].min(axis=(1, 2))
        names = table.loc[flagged, NAME_COLUMN].iloc[np.argsort(lowest, kind="stable")].tolist()
        more = len(names) - MAX_NAMES_SHOWN
        if more > 0:
            names[MAX_NAMES_SHOWN:] = [f"… and {more} more (the table names all)"]
        lines += wrapper.wrap(f"Least confident first: {', '.join(names)}")
    if (table["split"] == "val").all() and wrong.any():
        chosen = choose_review_confidence(table, trusted)
        plausible = is_plausible_row(table)
        lines += wrapper.wrap(
            f"Lowest --review_confidence that finds {SHARE_TO_FIND:.0%} of the "
            f"{wrong[plausible].sum()} landmarks so far off on the {plausible.sum()} images with "
            f"a plausible annotation: {'none' if chosen is None else f'{chosen:g}'}"
        )
    return "\n".join(lines)
