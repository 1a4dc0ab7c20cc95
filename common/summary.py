"""Numbers as texts and as tables: what is printed of a ground truth and of a test, and its CSV."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd

from common.biometry import DIAMETERS, diameters, is_plausible, measure_axes, normalised_errors
from common.evaluation import (
    REVIEW_ERROR,
    REVIEW_TARGET,
    Predictions,
    ReaderComparison,
    choose_review_confidence,
    needs_review,
    review_rules,
)
from common.figures import (
    BAND_NAMES,
    BANDS,
    CLINICAL_TARGET,
    agreement,
    band_counts,
    error_figures,
    mean_interval,
)
from common.ground_truth import (
    LANDMARK_NAMES,
    NAME_COLUMN,
    landmark_columns,
    landmark_values,
    subjects_in_training,
)

MAX_NAMES_SHOWN = 20
UNLIKELY_SHARE = 0.9  # of the distances above 50 px: between two readers of one image they are few
Arrays = dict[str, np.ndarray]


def describe_splits(splits: dict[str, pd.DataFrame]) -> str:
    """Say how many images there are, in which splits: `train`, `val` and `test`, or `all`."""
    text = f"Loaded {sum(map(len, splits.values()))} images"
    if "test" in splits:
        text += "\n" + " | ".join(f"{name.capitalize()}: {len(s)}" for name, s in splits.items())
    return text


def describe_annotations(splits: dict[str, pd.DataFrame]) -> str:
    """Say how many annotations of these splits are plausible, and how many images show a subject
    of training, in a sentence each; nothing where nothing is annotated."""
    table = pd.concat(splits.values())
    measures = measure_axes(landmark_values(table, "x", "y"), table.index)
    if measures[["ofd_px", "bpd_px"]].isna().all(axis=None):
        return ""
    plausible = measures["plausible"]
    text = f"{plausible.sum()} of {plausible.count()} annotations are plausible"
    if "test" in splits:
        in_test = plausible[splits["test"].index]
        text += f", {in_test.sum()} of {in_test.count()} in test"
    text += "."
    seen = subjects_in_training(splits)
    if seen:
        val, test = seen["val"], seen["test"]
        text += f"\n{val.sum()} of {len(val)} validation and {test.sum()} of {len(test)} test "
        text += "images show a subject of training."
    return text


def describe_test(predictions: Predictions, split: str, review_confidence: float) -> str:
    """Give the pixel errors and the biometry of all images, what the review flag finds, and the
    same figures of the images that are not flagged and of those whose annotation is plausible."""
    review = describe_review(predictions, split, review_confidence)
    if np.isnan(predictions.errors).all():
        return review
    interval = mean_interval(predictions.errors, predictions.names)
    errors = describe_errors(predictions.errors, interval)
    blocks = [errors, describe_biometry(predictions), review]
    passed = ~needs_review(predictions, review_confidence)
    for is_in, kind in (
        (passed, "not flagged for review"),
        (is_plausible(predictions.annotated), "with a plausible annotation"),
    ):
        title = f"The {is_in.sum()} of {len(is_in)} images {kind}"
        if 0 < is_in.sum() < len(is_in):
            some = predictions[is_in]
            blocks.append(f"{title}\n{'-' * len(title)}")
            blocks += [describe_errors(some.errors), describe_biometry(some)]
        else:
            blocks.append(f"{title}: {'none' if is_in.sum() == 0 else 'all of them'}")
    return "\n\n".join(blocks)


def describe_errors(errors: np.ndarray, interval: tuple[float, float] | None = None) -> str:
    """Give the report's figures for errors [N, 4], of which those that are NaN do not count; beside
    the mean its 95 % interval, if it is given."""
    known = np.isfinite(errors)
    of_images = np.array([np.nanmean(row) for row in errors[known.any(axis=1)]])
    title = f"Pixel error of {known.sum()} landmarks on {len(of_images)} images (px at 256×256)"
    if not known.any():
        return title
    beside_mean = ""
    if interval is not None:
        low, high = interval
        beside_mean = f" (95 % interval of the mean: {low:.1f} to {high:.1f})"
    figures = error_figures(errors)
    lines = [
        title,
        f"  Mean ± std       {figures['mean']:7.2f} ± {figures['std']:.2f}{beside_mean}",
        f"  Median           {figures['median']:7.2f}",
        f"  Min              {figures['min']:7.2f}",
        f"  Max              {figures['max']:7.2f}",
        f"  95th percentile  {figures['95th percentile']:7.2f}",
        "",
        "Landmark           mean  median",
    ]
    for name, column in zip(LANDMARK_NAMES, errors.T):
        if np.isfinite(column).any():
            figures = error_figures(column)
            lines.append(f"  {name:<14}{figures['mean']:7.2f} {figures['median']:7.2f}")
    lines += ["", f"{'Band':<22}{'landmarks':>14}{'images':>16}  (by the mean of their errors)"]
    for name, landmarks, images in zip(BAND_NAMES, band_counts(errors), band_counts(of_images)):
        lines.append(
            f"  {name:<20}{landmarks:>6} ({landmarks / known.sum():6.1%})"
            f"{images:>7} ({images / len(of_images):6.1%})"
        )
    return "\n".join(lines)


def describe_biometry(predictions: Predictions) -> str:
    """Say how well the diameters are measured: the absolute errors of their lengths, the distances
    of the landmarks in mm, the normalised mean error, and the agreement."""
    in_px = predictions.length_errors()
    in_mm = predictions.rate[:, None] * in_px
    normalised = normalised_errors(predictions.predicted, predictions.annotated)
    upper = [name.upper() for name in DIAMETERS]
    lines = [
        *(_error_line(f"{n} absolute error, px", np.abs(e)) for n, e in zip(upper, in_px.T)),
        *(_mm_line(f"{n} absolute error, mm", np.abs(e)) for n, e in zip(upper, in_mm.T)),
        _mm_line("Landmark error, mm", predictions.errors_mm()),
        *(
            _error_line(f"{n} normalised mean error", e, digits=4)
            for n, e in zip(upper, normalised.T)
        ),
    ]
    lines = [line for line in lines if line]
    if not lines:
        return "Biometry: no diameter is annotated"
    title = f"{'Biometry (px of the original image)':<37}mean ± std      median"
    biases = [
        *(_bias_line(f"{n} bias, px", e) for n, e in zip(upper, in_px.T)),
        *(_bias_line(f"{n} bias, mm", e) for n, e in zip(upper, in_mm.T)),
    ]
    biases = [line for line in biases if line]
    if biases:
        heading = f"{'Agreement (predicted less annotated)':<40}bias (95 % limits)"
        biases = ["", heading, *biases]
    return "\n".join([title, *lines, *biases])


def _error_line(label: str, errors: np.ndarray, digits: int = 2) -> str:
    """Mean, standard deviation and median of errors [...]; nothing where none is known."""
    if not np.isfinite(errors).any():
        return ""
    mean, std, median = (
        f"{error_figures(errors)[name]:.{digits}f}" for name in ("mean", "std", "median")
    )
    return f"  {label:<34}{mean:>7} ± {std:<8}{median:>7}"


def _mm_line(label: str, errors: np.ndarray) -> str:
    """The same of errors in mm, and how many are as small as the report asks for."""
    line = _error_line(label, errors)
    if line:
        known = errors[np.isfinite(errors)]
        share = (known <= CLINICAL_TARGET).mean()
        line += f"   {share:.1%} of {len(known)} within {CLINICAL_TARGET} mm"
    return line


def _bias_line(label: str, errors: np.ndarray) -> str:
    """Bias and limits of agreement; nothing where fewer than two errors are known."""
    if np.isfinite(errors).sum() < 2:
        return ""
    bias, lower, upper = agreement(errors)
    return f"  {label:<34}{bias:7.2f} ({lower:.2f} to {upper:.2f})"


def describe_review(predictions: Predictions, split: str, review_confidence: float) -> str:
    """Say which images are flagged, by which rule, least confident first, and what that finds; for
    validation images, which limit of the confidence would do."""
    flagged = needs_review(predictions, review_confidence)
    wrong = predictions.errors > REVIEW_ERROR
    lines = [f"Review: {flagged.sum()} of {len(flagged)} images flagged"]
    far_off = f"of the {wrong.sum()} landmarks more than {REVIEW_ERROR} px off"
    rules = {**review_rules(predictions, review_confidence), "together": flagged}
    for rule, is_flagged in rules.items():
        found = f", with {wrong[is_flagged].sum()} {far_off}" if wrong.any() else ""
        lines.append(f"  {rule:<26}{is_flagged.sum():5d} images{found}")
    wrapper = textwrap.TextWrapper(78, "  ", "  ", break_long_words=False)
    if flagged.any():
        lowest = predictions.confidences[flagged].min(axis=1)
        names = predictions.names[flagged][lowest.argsort(kind="stable")].tolist()
        more = len(names) - MAX_NAMES_SHOWN
        if more > 0:
            names[MAX_NAMES_SHOWN:] = [f"… and {more} more (the table names all)"]
        lines += wrapper.wrap(f"Least confident first: {', '.join(names)}")
    if split == "val" and wrong.any():
        limit = choose_review_confidence(predictions)
        plausible = is_plausible(predictions.annotated)
        lines += wrapper.wrap(
            f"Lowest --review_confidence that finds {REVIEW_TARGET:.0%} of the "
            f"{wrong[plausible].sum()} landmarks so far off on the {plausible.sum()} images with "
            f"a plausible annotation: {'none' if limit is None else f'{limit:g}'}"
        )
    return "\n".join(lines)


def describe_readers(comparison: ReaderComparison, groups: Arrays) -> str:
    """Give the distances of compare_readers in groups of images, bool [N] by name; then what is
    left out of them, and a question where the two files can hardly be of the same images."""
    title = "Second reader (px at 256×256; the four ends are named as it suits each image best)"
    lines = [title, f"{'':<36}landmarks    mean  median  ≤10 px  >50 px"]
    for group, is_in in groups.items():
        lines.append(group)
        for name, values in comparison.distances.items():
            known = values[is_in][np.isfinite(values[is_in])]
            line = f"  {name:<34}{known.size:>9}"
            if known.size:
                figures = error_figures(known)
                shares = f"{(known <= BANDS[0]).mean():8.1%}{(known > BANDS[2]).mean():8.1%}"
                line += f"{figures['mean']:8.2f}{figures['median']:8.2f}{shares}"
            lines.append(line)
    for name, left_out in comparison.left_out.items():
        if left_out.any():
            lines.append(
                f"Images left out of {name}: {left_out.sum()} (one must know all four ends, the "
                "other at least three)"
            )
    if is_another_unit(comparison):
        lines.append(
            f"Of the distances to the second reader {UNLIKELY_SHARE:.0%} or more are above "
            f"{BANDS[2]} px. Are its landmarks in px of the same original images?"
        )
    return "\n".join(lines)


def is_another_unit(comparison: ReaderComparison) -> bool:
    """Return whether a second reader is so far from the annotations (or the predictions, where
    nothing is annotated) that its landmarks are likely to have another unit or other images."""
    for name in ("annotated to second reader", "predicted to second reader"):
        distances = comparison.distances.get(name, np.array([]))
        known = distances[np.isfinite(distances)]
        if known.size:
            return bool((known > BANDS[2]).mean() >= UNLIKELY_SHARE)
    return False


def describe_names(by_name: float, matched: float) -> str:
    """Say that ends may be named by another rule, where compare_names says so; else nothing."""
    if not matched < by_name / 2:
        return ""
    return (
        f"The mean error of images with four ends is {by_name:.2f} px by name and {matched:.2f} px "
        "with the ends\nnamed as it suits each image best: they may be named by another rule here "
        "than in training\n(ReadMe_Complete.txt, DATA, YOUR OWN IMAGES, PYTHON)."
    )


def describe_review_by_reader(distances: np.ndarray, flagged: np.ndarray) -> str:
    """Say what the review flag, bool [N], finds by the distances [N, 4] of the predictions to a
    second reader."""
    wrong, passed = distances > REVIEW_ERROR, distances[~flagged]
    text = (
        f"Review: {flagged.sum()} flagged images have {wrong[flagged].sum()} of the "
        f"{wrong.sum()} landmarks more than {REVIEW_ERROR} px from the second reader"
    )
    if np.isfinite(passed).any():
        text += f"; mean error of the other images {np.nanmean(passed):.2f} px"
    return "\n".join(textwrap.wrap(text, 78, subsequent_indent="  "))


def prediction_table(
    predictions: Predictions, split: str, model_sha256: str, review_confidence: float
) -> pd.DataFrame:
    """Return what is known of each image after a test, one row per image; the rest is NaN. The
    columns are explained in ReadMe_Complete.txt, "What a run leaves"."""
    columns = {
        NAME_COLUMN: predictions.names,
        "split": split,
        "annotation_plausible": measure_axes(predictions.annotated)["plausible"].array,
        "prediction_plausible": is_plausible(predictions.predicted),
        "review": needs_review(predictions, review_confidence),
        "review_confidence": review_confidence,
        "model_sha256": model_sha256,
    }
    by_landmark = {
        "x": predictions.annotated[..., 0],
        "y": predictions.annotated[..., 1],
        "pred_x": predictions.predicted[..., 0],
        "pred_y": predictions.predicted[..., 1],
        "error_px256": predictions.errors,
        "error_px": predictions.errors_px(),
        "confidence": predictions.confidences,
        "spread_px256": predictions.spreads,
    }
    annotated, predicted = diameters(predictions.annotated), diameters(predictions.predicted)
    lengths = {"px": annotated, "pred_px": predicted}
    if np.isfinite(predictions.rate).any():
        rate = predictions.rate[:, None]
        by_landmark["error_mm"] = predictions.errors_mm()
        lengths |= {"mm": rate * annotated, "pred_mm": rate * predicted}
    columns |= landmark_columns(by_landmark)
    for i, diameter in enumerate(DIAMETERS):
        columns |= {f"{diameter}_{name}": values[:, i] for name, values in lengths.items()}
    return pd.DataFrame(columns)


def reader_columns(second: np.ndarray, distances: Arrays) -> pd.DataFrame:
    """Return the columns of a second reader for a table: the landmarks [N, 4, 2] in px of the
    original images, matched with the annotated ones, and the distances of a ReaderComparison."""
    values = {
        "second_x": second[..., 0],
        "second_y": second[..., 1],
        "second_error_px256": distances["annotated to second reader"],
    }
    if "predicted to second reader" in distances:
        values["pred_second_px256"] = distances["predicted to second reader"]
    return pd.DataFrame(landmark_columns(values))
