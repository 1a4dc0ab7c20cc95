"""What a tester prints and writes, of five images in which the landmarks to be found are drawn.

The images are of 512×768 px: a pixel at 256×256 is 2 px wide and 3 px high. Each shows one head,
OFD upright and 240 px long, BPD level and 200 px long. All expected numbers are those that are
written here, or NumPy's of them.
"""

import contextlib
import hashlib
import io
import re

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from common import UserError, evaluation
from common.basics import arguments
from common.ground_truth import landmark_values
from common.results import testing
from tests.conftest import arc_length, single_spaced, table_of

NAMES = ["right.png", "near.png", "exchanged.png", "unsure.png", "no head.png"]
HEAD = np.array([[128, 88], [128, 168], [78, 128], [178, 128]])  # at 256×256
FOUND = np.array([HEAD] * 5)
FOUND[1, 0] += [3, 4]  # OFD-1 is found 5 px off
FOUND[2] = HEAD[[0, 1, 3, 2]]  # the ends of BPD, 100 px apart, are exchanged
FOUND[3] += [6, 8]  # all four are 10 px off
FOUND[4, 1] = HEAD[1] - [0, 60]  # OFD-2 is 60 px off, and OFD 60 px long instead of 240
ERRORS = np.array([[0, 0, 0, 0], [5, 0, 0, 0], [0, 0, 100, 100], [10] * 4, [0, 60, 0, 0]])
# 3 and 4 px are 6 and 12 px of the original, 6 and 8 px are 12 and 24 px.
ERRORS_PX = np.array(
    [[0] * 4, [180**0.5, 0, 0, 0], [0, 0, 200, 200], [720**0.5] * 4, [0, 180, 0, 0]]
)
OFD = np.array([240, np.hypot(6, 228), 240, 240, 60])  # as it is found
CIRCUMFERENCES = np.array([arc_length(length, 200) for length in OFD])
CONFIDENCES = np.full((5, 4), 204)  # of 255: 0.8
CONFIDENCES[3, 2] = 51  # 0.2
RATE = 0.25  # mm per px
# The second reader calls the left end of BPD OFD-2, and so on, and lies 4 px above the first.
SECOND = (HEAD - [0, 4])[[3, 2, 0, 1]]
TO_SECOND = np.linalg.norm(FOUND - (HEAD - [0, 4]), axis=-1)
TO_SECOND[2] = 4  # in the best order


class ReadsWhatIsDrawn(torch.nn.Module):
    """Landmark 0, 1, 2 or 3 is where red is 60, 120, 180 or 240; green is how sure it is."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))

    def forward(self, images):
        red, green = (255 * images[:, :2]).round().unbind(dim=1)
        return torch.stack([(red == 60 * i) * green / 255 for i in (1, 2, 3, 4)], dim=1)


def draw(found, confidences):
    """A picture of 512×768 px, each of whose pixels is one of the 256×256 image."""
    picture = np.zeros((256, 256, 3), np.uint8)
    for i, (x, y) in enumerate(found):
        picture[y, x] = [0, confidences[i], 60 * (i + 1)]  # OpenCV's order: blue, green, red
    return picture.repeat(3, axis=0).repeat(2, axis=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The images, the ground truth, the second reader's landmarks and the weights."""
    folder = tmp_path_factory.mktemp("tester")
    (folder / "images").mkdir()
    for name, found, confidences in zip(NAMES, FOUND, CONFIDENCES):
        cv2.imwrite(str(folder / "images" / name), draw(found, confidences))
    table = table_of(*[HEAD * [2, 3]] * 5, names=NAMES).assign(px_to_mm_rate=RATE)
    table.to_csv(folder / "ground_truth.csv", index=False)
    second = table_of(*[SECOND * [2, 3]] * 5, names=NAMES)[::-1]
    second.to_csv(folder / "second.csv", index=False)
    torch.save(ReadsWhatIsDrawn().state_dict(), folder / "model.pth")
    return folder


def run_tester(folder, *options):
    """Test the images in the folder, and write the files there. Returns what was printed, with
    single spaces, and the table."""
    parser = arguments.tester_parser("", hypothesis=1, review_confidence=0.3)
    paths = {"csv_path": "ground_truth.csv", "image_folder_path": "images"}
    paths |= {"model_path": "model.pth", "csv_save_path": "table.csv"}
    paths |= {"pred_save_path": "predictions.png", "error_save_path": "errors.png"}
    given = [word for name, path in paths.items() for word in (f"--{name}", str(folder / path))]
    args = parser.parse_args([*given, "--split", "all", "--device", "cpu", *options])
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        testing.run_test(ReadsWhatIsDrawn, args)
    return single_spaced(stdout.getvalue()), pd.read_csv(folder / "table.csv")


@pytest.fixture(scope="module")
def tested(folder):
    """What is printed of all five images, beside a second reader, and the table."""
    return run_tester(folder, "--second_csv_path", str(folder / "second.csv"))


@pytest.fixture
def printed(tested):
    return tested[0]


@pytest.fixture
def table(tested):
    return tested[1]


def figures(values, digits=2):
    """Mean, standard deviation and median as they are printed."""
    mean, std, median = np.mean(values), np.std(values), np.median(values)
    return f"{mean:.{digits}f} ± {std:.{digits}f}, {median:.{digits}f}"


def test_the_table_has_the_images_in_the_order_of_the_ground_truth(table):
    assert table["image_name"].tolist() == NAMES
    assert set(table["split"]) == {"all"}


def test_the_table_names_the_weights_by_their_sha256(table, folder):
    sha256 = hashlib.sha256((folder / "model.pth").read_bytes()).hexdigest()
    assert set(table["model_sha256"]) == {sha256}


def test_the_landmarks_in_the_table_are_in_px_of_the_original_images(table):
    assert (landmark_values(table, "x", "y") == HEAD * [2, 3]).all()
    assert (landmark_values(table, "pred_x", "pred_y") == FOUND * [2, 3]).all()


def test_the_errors_in_the_table_are_in_px_at_256_in_px_of_the_original_and_in_mm(table):
    errors = landmark_values(table, "error_px256", "error_px", "error_mm")
    assert errors[..., 0] == pytest.approx(ERRORS)
    assert errors[..., 1] == pytest.approx(ERRORS_PX)
    assert errors[..., 2] == pytest.approx(ERRORS_PX / 4)


def test_the_confidences_in_the_table_are_the_peak_values(table):
    assert landmark_values(table, "confidence")[..., 0] == pytest.approx(CONFIDENCES / 255)


def test_the_diameters_in_the_table_are_in_px_of_the_original_and_in_mm(table):
    diameters = table[["ofd_px", "bpd_px", "ofd_mm", "bpd_mm"]].to_numpy()
    assert diameters == pytest.approx(np.array([[240, 200, 60, 50]] * 5))
    assert table["ofd_pred_px"].to_numpy() == pytest.approx(OFD)
    assert table["ofd_pred_mm"].to_numpy() == pytest.approx(OFD / 4)
    assert table["bpd_pred_px"].to_numpy() == pytest.approx(200)


def test_the_circumference_in_the_table_is_that_of_the_ellipse_with_the_two_diameters(table):
    assert table["hc_px"].to_numpy() == pytest.approx(arc_length(240, 200), rel=1e-8)
    assert table["hc_mm"].to_numpy() == pytest.approx(arc_length(240, 200) / 4, rel=1e-8)
    assert table["hc_pred_px"].to_numpy() == pytest.approx(CIRCUMFERENCES, rel=1e-6)
    assert table["hc_pred_mm"].to_numpy() == pytest.approx(CIRCUMFERENCES / 4, rel=1e-6)


def test_an_image_is_flagged_where_a_landmark_is_unsure_or_the_prediction_is_no_head(
    table, printed
):
    assert table["prediction_plausible"].tolist() == [True] * 4 + [False]
    assert table["review"].tolist() == [False] * 3 + [True, True]
    assert "Review: 2 of 5 images flagged" in printed
    assert "Least confident first: unsure.png, no head.png" in printed


def test_the_printed_pixel_errors_are_those_of_each_group_of_images(printed):
    """Of all five; of the three that are not flagged; every annotation is plausible."""
    groups = ERRORS, ERRORS[:3]
    for label, figure in {
        "Pixel error, mean ± std": lambda errors: f"{errors.mean():.2f} ± {errors.std():.2f}",
        "Median": lambda errors: f"{np.median(errors):.2f}",
        "95th percentile": lambda errors: f"{np.percentile(errors, 95):.2f}",
        "OFD-2 mean, median": lambda errors: f"{errors[:, 1].mean():.2f}, 0.00",
    }.items():
        assert f"{label} {' '.join(map(figure, groups))}" in printed
    assert "all images not flagged for review Images 5 3 Landmarks 20 12" in printed
    assert "Excellent (≤10 px) 85.0 %, 60.0 % 83.3 %, 66.7 %" in printed
    assert "Failure (>50 px) 15.0 %, 0.0 % 16.7 %, 0.0 %" in printed
    assert "Plausible annotation: all of them" in printed


def test_the_printed_errors_of_the_lengths_are_in_px_of_the_original_and_in_mm(printed):
    errors = np.abs(OFD - 240)
    passed = errors[:3]
    assert (
        f"OFD error, px {figures(errors)} {figures(passed)} BPD error, px 0.00 ± 0.00, 0.00"
        in printed
    )
    assert f"OFD error, mm {figures(errors / 4)} {figures(passed / 4)} BPD error, mm" in printed
    assert "OFD within 5 mm 80.0 % of 5 100.0 % of 3" in printed
    errors = np.abs(CIRCUMFERENCES - arc_length(240, 200))
    assert f"HC error, px {figures(errors)} {figures(errors[:3])} OFD error, mm" in printed
    assert (
        f"HC error, mm {figures(errors / 4)} {figures(errors[:3] / 4)} Landmarks error, mm"
        in printed
    )


def test_the_printed_biases_are_predicted_less_annotated(printed):
    for values, label in (
        (OFD - 240, "OFD bias, px"),
        ((CIRCUMFERENCES - arc_length(240, 200)) / 4, "HC bias, mm"),
    ):
        limits = values.mean() + np.array([-1.96, 1.96]) * values.std(ddof=1)
        assert f"{label} {values.mean():.2f} ({limits[0]:.2f} to {limits[1]:.2f})" in printed


def test_the_printed_share_within_5_mm_is_of_all_landmarks(printed):
    # Seven of twenty are not: twice 50 mm, 45 mm and four times 6.7 mm.
    in_mm = ERRORS_PX / 4
    assert f"Landmarks error, mm {figures(in_mm)} {figures(in_mm[:3])} OFD within" in printed
    assert "Landmarks within 5 mm 65.0 % of 20 83.3 % of 12" in printed


def test_the_mean_error_with_the_ends_matched_is_that_of_all_but_the_exchanged_ends(printed):
    matched = np.where(ERRORS == 100, 0, ERRORS).mean()
    assert f"is {ERRORS.mean():.2f} px by name and {matched:.2f} px with the ends" in printed


def test_a_second_readers_ends_are_named_in_the_table_as_the_annotation_names_them(table):
    assert landmark_values(table, "second_x", "second_y") == pytest.approx(
        np.array([(HEAD - [0, 4]) * [2, 3]] * 5)
    )
    assert landmark_values(table, "second_error_px256") == pytest.approx(4, abs=1e-4)


def test_the_distances_between_readers_are_those_of_the_order_that_fits_best(table, printed):
    assert landmark_values(table, "pred_second_px256")[..., 0] == pytest.approx(TO_SECOND, abs=1e-4)
    matched = np.where(ERRORS == 100, 0, ERRORS)
    in_table = landmark_values(table, "matched_px256")[..., 0]
    assert in_table == pytest.approx(matched, abs=1e-4)
    mean, median = TO_SECOND.mean(), np.median(TO_SECOND)
    assert f"predicted to second reader 5 20 {mean:.2f} {median:.2f} 75.00 5.00" in printed
    mean, median = matched.mean(), np.median(matched)
    assert f"predicted to annotated 5 20 {mean:.2f} {median:.2f} 95.00 5.00" in printed
    # Of the three images that are not flagged.
    mean, median = TO_SECOND[:3].mean(), np.median(TO_SECOND[:3])
    assert "not flagged for review annotated to second reader 3 12 4.00 4.00 100.00 0.00" in printed
    assert f"predicted to second reader 3 12 {mean:.2f} {median:.2f} 100.00 0.00" in printed


def test_a_second_readers_circumference_stands_in_the_table_and_what_is_off_it_is_printed(
    table, printed
):
    """It calls OFD what the annotation calls BPD, and measures the same."""
    theirs = arc_length(240, 200) / 4
    assert table["second_hc_mm"].to_numpy() == pytest.approx(theirs, rel=1e-8)
    off = CIRCUMFERENCES / 4 - theirs
    for of_group, within, far in ((off, 75, 5), (off[:3], 100, 0)):
        figures = f"{len(of_group)} {np.abs(of_group).mean():.2f} {of_group.mean():.2f}"
        ours = r"predicted to second reader \d+ \d+ [\d.]+ [\d.]+ "
        assert re.search(rf"{ours}{within}.00 {far}.00 {figures}", printed)
        assert f"4.00 4.00 100.00 0.00 {len(of_group)} 0.00 0.00 predicted to" in printed


def test_landmarks_far_from_the_second_reader_are_counted_in_the_flagged_images(printed):
    # Of more than 20 px, there is one landmark, in the image that is no head.
    assert (
        "Review: 2 flagged images have 1 of the 1 landmarks more than 20 px from the second reader"
        in printed
    )


def test_one_image_is_enough(folder):
    ground_truth = pd.read_csv(folder / "ground_truth.csv")
    ground_truth[1:2].to_csv(folder / "one.csv", index=False)
    printed, table = run_tester(folder, "--csv_path", str(folder / "one.csv"))
    assert table["image_name"].tolist() == ["near.png"]
    assert "all images Images 1 Landmarks 4 Pixel error, mean ± std 1.25" in printed


def test_one_image_with_a_ground_truth_is_its_row_and_is_refused_without_one(folder, tmp_path):
    options = ("--csv_path", str(folder / "ground_truth.csv"), "--split", "all")
    one = ("--image_folder_path", str(folder / "images" / "near.png"))
    printed, table = run_tester(folder, *options, *one)
    assert table["image_name"].tolist() == ["near.png"]
    assert "all images Images 1 Landmarks 4 Pixel error, mean ± std 1.25" in printed
    (tmp_path / "new.png").touch()
    with pytest.raises(UserError, match=r"ground_truth\.csv: has no row for new\.png$"):
        run_tester(folder, *options, "--image_folder_path", str(tmp_path / "new.png"))


def test_a_reader_that_leaves_early_costs_no_file(folder, tmp_path, monkeypatch):
    """As `| head` does: what is printed of the figures cannot be written any more."""
    monkeypatch.chdir(tmp_path)
    names = {"csv_save_path": "t.csv", "pred_save_path": "p.png", "error_save_path": "e.png"}

    class Gone(io.StringIO):
        def write(self, text):
            if "Pixel error" in text:
                raise BrokenPipeError
            return super().write(text)

    monkeypatch.setattr(io, "StringIO", Gone)
    options = [word for name, path in names.items() for word in (f"--{name}", path)]
    with pytest.raises(BrokenPipeError):
        run_tester(folder, *options)
    assert {path.name for path in tmp_path.iterdir()} == set(names.values())


def test_the_time_per_image_is_that_of_predicting_divided_by_the_images(folder, monkeypatch):
    """The clock stands still but in predict, which takes two seconds: 400 ms for each of five."""
    predict, clock = evaluation.predict, [1000]

    def slow_predict(*args):
        clock[0] += 2
        return predict(*args)

    monkeypatch.setattr(evaluation, "predict", slow_predict)
    monkeypatch.setattr(testing.time, "monotonic", lambda: clock[0])
    assert "Predicted in 400.0 ms per image" in run_tester(folder)[0]
