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
    REVIEW_TARGET,
    band_counts,
    choose_review_confidence,
    errors_of,
    review_rules,
)
from common.ground_truth import (
    LANDMARK_NAMES,
    NAME_COLUMN,
    find_subjects,
    landmark_values,
    subjects_in_training,
)

BAND_NAMES = ("Excellent (≤10 px)", "Good (10-20 px)", "Poor (20-50 px)", "Failure (>50 px)")
MAX_NAMES_SHOWN = 20
Arrays = dict[str, np.ndarray]


def describe_splits(splits: dict[str, pd.DataFrame]) -> str:
    """Say how many images there are, in which splits: `train`, `val` and `test`, or `all`."""
    text = f"Loaded {sum(map(len, splits.values()))} images"
    if "test" in splits:
        text += "\n" + " | ".join(f"{name.capitalize()}: {len(s)}" for name, s in splits.items())
    return text


def describe_annotations(splits: dict[str, pd.DataFrame]) -> str:
    """Say in a line what the audit finds in these splits; nothing where nothing is annotated."""
    table = pd.concat(splits.values())
    measures = measure_axes(landmark_values(table, "x", "y"), table.index)
    if measures[["ofd_px", "bpd_px"]].isna().all(axis=None):
        return ""
    plausible = measures["plausible"]
    text = f"Audit: {plausible.sum()} of {plausible.count()} annotations plausible"
    if "test" in splits:
        in_test = plausible[splits["test"].index]
        text += f", {in_test.sum()} of {in_test.count()} in test"
    text += f"; OFD shorter than BPD in {(measures['ofd_px'] < measures['bpd_px']).sum()}"
    seen = subjects_in_training(splits)
    if seen:
        counts = " and ".join(f"{s.sum()} of {len(s)} {name}" for name, s in seen.items())
        text += f"; subjects of training (by {find_subjects(table)[1]}) in {counts} images"
    return text


def describe_test(table: pd.DataFrame) -> str:
    """Give the pixel errors and the biometry of all rows, what the review flag finds, and the same
    figures of the rows that are not flagged and of those whose annotation is plausible."""
    if np.isnan(errors_of(table)).all():
        return describe_review(table)
    blocks = [describe_errors(errors_of(table)), describe_biometry(table), describe_review(table)]
    for is_in, kind in (
        (~table["review"], "not flagged for review"),
        (table["annotation_plausible"].fillna(False), "with a plausible annotation"),
    ):
        title = f"The {is_in.sum()} of {len(table)} images {kind}"
        if 0 < is_in.sum() < len(table):
            some = table[is_in]
            blocks.append(f"{title}\n{'-' * len(title)}")
            blocks += [describe_errors(errors_of(some)), describe_biometry(some)]
        else:
            blocks.append(f"{title}: {'none' if is_in.sum() == 0 else 'all of them'}")
    return "\n\n".join(blocks)


def describe_readers(distances: Arrays, groups: Arrays, flagged: np.ndarray | None = None) -> str:
    """Give the distances of compare_readers in groups of images, bool [N] by name; and what the
    review flag finds by the second reader, where flagged, bool [N], says so."""
    title = "Second reader (px at 256×256; the four ends are named as it suits each image best)"
    lines = [title, f"{'':<36}landmarks    mean  median  ≤10 px  >50 px"]
    for group, is_in in groups.items():
        lines.append(group)
        for name, values in distances.items():
            known = values[is_in][np.isfinite(values[is_in])]
            line = f"  {name:<34}{known.size:>9}"
            if known.size:
                shares = f"{(known <= BANDS[0]).mean():8.1%}{(known > BANDS[2]).mean():8.1%}"
                line += f"{known.mean():8.2f}{np.median(known):8.2f}{shares}"
            lines.append(line)
    if flagged is not None:
        errors = distances["predicted to second reader"]
        wrong, passed = errors > REVIEW_ERROR, errors[~flagged]
        line = f"Review: {flagged.sum()} flagged images have {wrong[flagged].sum()} of the "
        line += f"{wrong.sum()} landmarks more than {REVIEW_ERROR} px from the second reader"
        if np.isfinite(passed).any():
            line += f"; mean error of the other images {np.nanmean(passed):.2f} px"
        lines += textwrap.wrap(line, 78, subsequent_indent="  ")
    return "\n".join(lines)


def describe_errors(errors: np.ndarray) -> str:
    """Give the report's figures for errors [N, 4], of which those that are NaN do not count."""
    known = errors[np.isfinite(errors)]
    of_images = np.array([np.nanmean(row) for row in errors if np.isfinite(row).any()])
    title = f"Pixel error of {known.size} landmarks on {len(of_images)} images (px at 256×256)"
    if known.size == 0:
        return title
    lines = [
        title,
        f"  Mean ± std       {known.mean():7.2f} ± {known.std():.2f}",
        f"  Median           {np.median(known):7.2f}",
        f"  Min              {known.min():7.2f}",
        f"  Max              {known.max():7.2f}",
        f"  95th percentile  {np.percentile(known, 95):7.2f}",
        "",
        "Landmark           mean  median",
    ]
    for name, column in zip(LANDMARK_NAMES, errors.T):
        if np.isfinite(column).any():
            lines.append(f"  {name:<14}{np.nanmean(column):7.2f} {np.nanmedian(column):7.2f}")
    lines += ["", f"{'Band':<22}{'landmarks':>14}{'images':>16}  (by the mean of their errors)"]
    counts = zip(BAND_NAMES, band_counts(known), band_counts(of_images))
    for name, landmarks, images in counts:
        lines.append(
            f"  {name:<20}{landmarks:>6} ({landmarks / known.size:6.1%})"
            f"{images:>7} ({images / len(of_images):6.1%})"
        )
    return "\n".join(lines)


def describe_biometry(table: pd.DataFrame) -> str:
    """Say how well the diameters are measured: absolute errors; the normalised mean error; and the
    agreement (Bland & Altman 1986), which is the bias, predicted less annotated, and its 95 %
    limits, bias ± 1.96 sample standard deviations."""
    errors = {}
    agreement = [f"{'Agreement (predicted less annotated)':<40}bias (95 % limits)"]
    units = ("px", "mm") if "ofd_mm" in table else ("px",)
    for name, unit in ((name, unit) for unit in units for name in DIAMETERS):
        error = table[f"{name}_pred_{unit}"] - table[f"{name}_{unit}"]
        errors[f"{name.upper()} absolute error, {unit}"] = error
        bias, spread = error.mean(), 1.96 * error.std(ddof=1)
        if np.isfinite(spread):
            limits = f"{bias:7.2f} ({bias - spread:.2f} to {bias + spread:.2f})"
            agreement.append(f"  {name.upper()} bias, {unit:<24}{limits}")
    if "ofd_mm" in table:
        errors["Landmark error, mm"] = pd.Series(landmark_values(table, "error_mm").ravel())
    normalised = normalised_errors(
        landmark_values(table, "pred_x", "pred_y"), landmark_values(table, "x", "y")
    )
    for name, error in zip(DIAMETERS, normalised.T):
        errors[f"{name.upper()} normalised mean error"] = pd.Series(error)
    lines = []
    for name, error in errors.items():
        error = error.abs().dropna()
        if error.empty:
            continue
        digits = 4 if "normalised" in name else 2
        mean, std, median = error.mean(), error.std(ddof=0), error.median()
        line = f"  {name:<34}{mean:7.{digits}f} ± {std:<8.{digits}f}{median:7.{digits}f}"
        if name.endswith("mm"):
            within = (error <= CLINICAL_TARGET).mean()
            line += f"   {within:.1%} of {len(error)} within {CLINICAL_TARGET} mm"
        lines.append(line)
    if not lines:
        return "Biometry: no diameter is annotated"
    title = f"{'Biometry (px of the original image)':<37}mean ± std      median"
    return "\n".join([title, *lines, *(["", *agreement] if len(agreement) > 1 else [])])


def describe_review(table: pd.DataFrame) -> str:
    """Say which images are flagged, by which rule, least confident first, and what that finds; for
    validation images, which limit of the confidence would do."""
    flagged = table["review"].to_numpy()
    wrong = errors_of(table) > REVIEW_ERROR
    lines = [f"Review: {flagged.sum()} of {len(table)} images flagged"]
    far_off = f"of the {wrong.sum()} landmarks more than {REVIEW_ERROR} px off"
    for rule, is_flagged in {**review_rules(table), "together": flagged}.items():
        found = f", with {wrong[is_flagged].sum()} {far_off}" if wrong.any() else ""
        lines.append(f"  {rule:<26}{is_flagged.sum():5d} images{found}")
    wrapper = textwrap.TextWrapper(78, "  ", "  ", break_long_words=False)
    if flagged.any():
        lowest = landmark_values(table[flagged], "confidence").min(axis=(1, 2))
        names = table.loc[flagged, NAME_COLUMN].iloc[lowest.argsort(kind="stable")].tolist()
        if (more := len(names) - MAX_NAMES_SHOWN) > 0:
            names[MAX_NAMES_SHOWN:] = [f"… and {more} more (the table names all)"]
        lines += wrapper.wrap(f"Least confident first: {', '.join(names)}")
    if table["split"].iloc[0] == "val" and wrong.any():
        limit = choose_review_confidence(table)
        plausible = table["annotation_plausible"].fillna(False).to_numpy(bool)
        text = f"finds {REVIEW_TARGET:.0%} of the {wrong[plausible].sum()} landmarks so far off"
        lines += wrapper.wrap(
            f"Lowest --review_confidence that {text} on the {plausible.sum()} images with a "
            f"plausible annotation: {'none' if limit is None else f'{limit:g}'}"
        )
    return "\n".join(lines)
