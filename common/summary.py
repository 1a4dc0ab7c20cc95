"""What is printed of a ground truth and of a prediction_table."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd

from common.biometry import DIAMETERS, measure_axes, normalised_errors
from common.evaluation import (
    BANDS,
    CLINICAL_TARGET,
    REVIEW_ERROR,
    band_counts,
    errors_of,
    review_rules,
)
from common.ground_truth import (
    LANDMARK_NAMES,
    NAME_COLUMN,
    landmark_values,
    subjects_in_training,
)

BAND_NAMES = (
    f"Excellent (≤{BANDS[0]} px)",
    f"Good ({BANDS[0]}-{BANDS[1]} px)",
    f"Poor ({BANDS[1]}-{BANDS[2]} px)",
    f"Failure (>{BANDS[2]} px)",
)
MAX_NAMES_SHOWN = 20


def describe_splits(splits: dict[str, pd.DataFrame]) -> str:
    """How many images there are, in which splits, and what the audit finds, as lines to print.

    splits: `train`, `val` and `test`, or `all`.
    """
    table = pd.concat(splits.values())
    lines = [f"Loaded {len(table)} images"]
    if "test" in splits:
        lines.append(" | ".join(f"{name.capitalize()}: {len(s)}" for name, s in splits.items()))
    audit = measure_axes(landmark_values(table, "x", "y"), table.index)
    text = f"Audit: {audit['plausible'].sum()} of {len(table)} annotations plausible"
    if "test" in splits:
        rows = splits["test"].index
        text += f", {audit.loc[rows, 'plausible'].sum()} of {len(rows)} in test"
    text += f"; OFD shorter than BPD in {(audit['ofd_px'] < audit['bpd_px']).sum()}"
    seen = subjects_in_training(splits)
    if seen:
        counts = " and ".join(f"{s.sum()} of {len(s)} {name}" for name, s in seen.items())
        text += f"; subjects of training in {counts} images"
    return "\n".join([*lines, text])


def describe_test(table: pd.DataFrame) -> str:
    """The pixel errors and the biometry of all rows, what the review flag finds, and the same
    figures of the rows that are not flagged and of those whose annotation is plausible."""
    blocks = [_figures(table), review_summary(table)]
    for is_in, kind in (
        (~table["review"], "not flagged for review"),
        (table["annotation_plausible"], "with a plausible annotation"),
    ):
        title = f"The {is_in.sum()} of {len(table)} images {kind}"
        if 0 < is_in.sum() < len(table):
            blocks += [f"{title}\n{'-' * len(title)}", _figures(table[is_in])]
        else:
            blocks.append(f"{title}: {'none' if is_in.sum() == 0 else 'all of them'}")
    return "\n\n".join(blocks)


def _figures(table: pd.DataFrame) -> str:
    return f"{error_summary(errors_of(table))}\n\n{biometry_summary(table)}"


def error_summary(errors: np.ndarray) -> str:
    """The report's figures for errors [N, 4]."""
    lines = [
        f"Pixel error of {errors.size} landmarks on {len(errors)} images (px at 256×256)",
        f"  Mean ± std       {errors.mean():7.2f} ± {errors.std():.2f}",
        f"  Median           {np.median(errors):7.2f}",
        f"  Min              {errors.min():7.2f}",
        f"  Max              {errors.max():7.2f}",
        f"  95th percentile  {np.percentile(errors, 95):7.2f}",
        "",
        "Landmark           mean  median",
    ]
    for name, column in zip(LANDMARK_NAMES, errors.T):
        lines.append(f"  {name:<14}{column.mean():7.2f} {np.median(column):7.2f}")
    lines += [
        "",
        f"{'Band':<22}{'landmarks':>14}{'images':>16}  (by the mean of their four errors)",
    ]
    by_landmark, by_image = band_counts(errors), band_counts(errors.mean(axis=1))
    for name, landmarks, images in zip(BAND_NAMES, by_landmark, by_image):
        lines.append(
            f"  {name:<20}{landmarks:>6} ({landmarks / errors.size:6.1%})"
            f"{images:>7} ({images / len(errors):6.1%})"
        )
    return "\n".join(lines)


def biometry_summary(table: pd.DataFrame) -> str:
    """How well the diameters are measured."""
    lines = [f"{'Biometry (px of the original image)':<37}mean ± std      median"]
    for unit in ("px", "mm"):
        if f"ofd_{unit}" not in table:
            continue
        errors = {
            f"{name.upper()} absolute error": table[f"{name}_pred_{unit}"] - table[f"{name}_{unit}"]
            for name in DIAMETERS
        }
        if unit == "mm":
            errors["Landmark error"] = pd.Series(landmark_values(table, "error_mm").ravel())
        for name, error in errors.items():
            error = error.abs().dropna()
            if error.empty:
                continue
            line = (
                f"  {name + ', ' + unit:<34}"
                f"{error.mean():7.2f} ± {error.std(ddof=0):<8.2f}{error.median():7.2f}"
            )
            if unit == "mm":
                within = (error <= CLINICAL_TARGET).mean()
                line += f"   {within:.1%} of {len(error)} within {CLINICAL_TARGET} mm"
            lines.append(line)
    errors = normalised_errors(
        landmark_values(table, "pred_x", "pred_y"), landmark_values(table, "x", "y")
    )
    for name, error in zip(DIAMETERS, errors.T):
        error = error[np.isfinite(error)]
        if error.size:
            lines.append(
                f"  {name.upper()} normalised mean error     {error.mean():9.4f} ± "
                f"{error.std():<8.4f}{np.median(error):7.4f}"
            )
    return "\n".join(lines)


def review_summary(table: pd.DataFrame) -> str:
    """Which images are flagged, by which rule, least confident first, and what that finds."""
    flagged = table["review"].to_numpy()
    wrong = errors_of(table) > REVIEW_ERROR
    lines = [f"Review: {flagged.sum()} of {len(table)} images flagged"]
    for rule, rows in {**review_rules(table), "together": flagged}.items():
        lines.append(f"  {rule:<26}{rows.sum():5d} images")
        if wrong.any():
            found = f", with {wrong[rows].sum()} of the {wrong.sum()} landmarks more than"
            lines[-1] += f"{found} {REVIEW_ERROR} px off"
    if flagged.any():
        lowest = landmark_values(table[flagged], "confidence").min(axis=(1, 2))
        names = table.loc[flagged, NAME_COLUMN].iloc[lowest.argsort(kind="stable")].tolist()
        shown = names[:MAX_NAMES_SHOWN]
        if len(names) > len(shown):
            shown.append(f"… and {len(names) - len(shown)} more (--csv_save_path names all)")
        text = f"Least confident first: {', '.join(shown)}"
        lines += textwrap.wrap(text, 78, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)
