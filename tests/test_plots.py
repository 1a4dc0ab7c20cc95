"""What pictures show, read from the figure that is saved; their sizes are tested with scripts."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from common import plots
from common.audit import audit_table
from common.evaluation import Predictions
from common.ground_truth import LANDMARK_NAMES
from common.images import LandmarkImages
from tests.conftest import ellipse, table_of

pytestmark = pytest.mark.filterwarnings("error:Glyph")
# Read as mathematics, the first would end the run after the predictions, the second vanish. And
# matplotlib's font has no Chinese letters.
NAMES = ["头$_$b.png", f"$x$ \\alpha{'b' * 30}{'c' * 30}.png"]
SHOWN = [NAMES[0], f"$x$ \\alpha{'b' * 9}…{'c' * 16}.png"]  # long ones without their middle


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved, in order."""
    saved, savefig = [], Figure.savefig

    def save(figure, *args, **options):
        saved.append(figure)
        savefig(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", save)
    return saved


@pytest.fixture
def data():
    landmarks = torch.tensor(np.array([ellipse(center=(128, 128))] * 2)).float()
    images = torch.zeros(2, 1, 256, 256, dtype=torch.uint8)
    return LandmarkImages(NAMES, images, landmarks, np.array([[512.0, 768.0]] * 2))


@pytest.fixture
def ground_truth(data):
    return table_of(*data.landmarks.numpy() * [2, 3], names=NAMES)


def places(axis, kind):
    """Where the four landmarks of a kind are marked."""
    return np.array([line.get_xydata()[0] for line in axis.lines if kind in line.get_label()])


@pytest.fixture
def found(data):
    """Each landmark is found 3 px to the right and 4 px below, at 256×256."""
    annotated = data.landmarks.numpy() * np.array([2.0, 3.0])
    return Predictions(
        names=np.array(NAMES),
        annotated=annotated,
        predicted=annotated + np.array([2 * 3, 3 * 4]),
        errors=np.full((2, 4), 5.0),
        confidences=np.ones((2, 4)),
        spreads=np.full((2, 4), np.nan),
        rate=np.full(2, np.nan),
    )


def test_the_picture_of_predictions_marks_each_landmark_where_it_was_found(
    data, found, figures, tmp_path
):
    predicted = data.landmarks + torch.tensor([3.0, 4.0])
    found.errors[1] = np.nan
    for name in ("a.png", "a.pdf"):
        plots.predictions(data, found, np.array([False, True]), str(tmp_path / name))
    axes = figures[0].axes
    assert [axis.get_title() for axis in axes] == [
        *(f"{SHOWN[0]}: ground truth", "prediction", "overlay, mean error 5.0 px"),
        *(f"{SHOWN[1]}: ground truth", "prediction: TO BE REVIEWED", "overlay, not annotated"),
    ]
    assert all(axis.images for axis in axes)
    # What is flagged for review has a red frame.
    frames = [{to_hex(spine.get_edgecolor()) for spine in axis.spines.values()} for axis in axes]
    assert frames == [{"#000000"}] * 3 + [{to_hex("crimson")}] * 3
    # Each landmark stands where it was found, and its marker tells it from the other three.
    marked = [line for line in axes[1].lines if "predicted" in line.get_label()]
    assert [line.get_label()[:5] for line in marked] == ["OFD-1", "OFD-2", "BPD-1", "BPD-2"]
    assert len({line.get_marker() for line in marked}) == 4
    true, seen = data.landmarks[0].numpy(), predicted[0].numpy()
    for axis, kind, expected in (
        (axes[0], "ground truth", true),
        (axes[1], "predicted", seen),
        (axes[2], "ground truth", true),
        (axes[2], "predicted", seen),
    ):
        assert places(axis, kind) == pytest.approx(expected, abs=1e-3)


def test_a_second_reader_is_marked_where_there_is_one(data, found, figures, tmp_path):
    second = found.annotated + np.array([2 * 7, 3 * 9])
    second[1] = np.nan
    plots.predictions(data, found, np.array([False, True]), str(tmp_path / "a.png"), second)
    first, last = figures[-1].axes[2::3]
    expected = data.landmarks[0].numpy() + np.array([7, 9])
    assert places(first, "second reader") == pytest.approx(expected, abs=1e-3)
    assert len(places(last, "second reader")) == 0


def test_a_pdf_shows_every_image(data, found, figures, tmp_path):
    """Eight images are two pages, of six and of two."""
    repeated = (data.images.repeat(4, 1, 1, 1), data.landmarks.repeat(4, 1, 1))
    four_times = LandmarkImages(list("01234567"), *repeated, data.sizes.repeat(4, axis=0))
    found = found[np.array([0, 1] * 4)]
    plots.predictions(four_times, found, np.zeros(8, bool), str(tmp_path / "a.PDF"))
    shown = [[axis.get_title() for axis in figure.axes] for figure in figures]
    titles = [f"{i}\nmean error 5.0 px" for i in range(8)]
    assert shown == [titles[:6], [*titles[6:], "", "", "", ""]]
    true = four_times.landmarks[7].numpy()
    assert places(figures[1].axes[1], "ground truth") == pytest.approx(true)
    assert places(figures[1].axes[1], "predicted") == pytest.approx(
        true + np.array([3, 4]), abs=1e-3
    )
    pdf = (tmp_path / "a.PDF").read_bytes()
    assert len(re.findall(rb"/Type /Page\b", pdf)) == 2


def test_the_picture_of_errors_shows_every_known_error_and_its_figures(figures, tmp_path):
    nan = np.nan  # BPD-2 is not annotated at all, and OFD-1 not everywhere
    errors = np.array([[1.0, 20, 300, nan], [2, 30, 400, nan], [nan, 70, 500, nan]])
    plots.error_distribution(errors, str(tmp_path / "a.png"))
    left, right = figures[0].axes
    assert left.get_title() == "Pixel errors of 8 landmarks on 3 images"
    assert sum(bar.get_height() for bar in left.patches) == 8
    assert [line.get_xdata()[0] for line in left.lines] == [1323 / 8, 50]
    assert [label.get_text() for label in right.get_xticklabels()] == [
        "OFD-1\nmean 1.5\nmedian 1.5",
        "OFD-2\nmean 40.0\nmedian 30.0",
        "BPD-1\nmean 400.0\nmedian 400.0",
        "BPD-2",
    ]
    lower_quartiles = [box.get_path().vertices[:, 1].min() for box in right.patches]
    assert lower_quartiles[:3] == [1.25, 25, 350]


def test_augmentation_examples_show_eight_versions_with_their_landmarks(data, figures, tmp_path):
    def augment(images, landmarks, generator):
        number = torch.arange(8)[:, None, None]
        return images + number[..., None] / 8, landmarks + number

    plots.augmentation_examples(data, augment, 42, str(tmp_path / "a.png"))
    for number, axis in enumerate(figures[0].axes):
        assert (axis.images[0].get_array() == number / 8).all()
        expected = data.landmarks[0].numpy() + number
        assert places(axis, "ground truth") == pytest.approx(expected)


def test_the_picture_of_an_audit_shows_the_measures_and_the_worst_images(
    data, ground_truth, figures, tmp_path
):
    measures = audit_table(ground_truth, {"all": ground_truth})
    shares = (np.array([0, 1, 2]), np.array([0.5, 1.0]))
    plots.audit_picture(measures, shares, data, pd.Index([1, 0]), str(tmp_path / "a.png"))
    titles = [axis.get_title().split("\n")[0] for axis in figures[0].axes]
    assert titles[:3] == ["2 of 2 above 70", "2 of 2 below 0.2", "2 of 2 above 0.6"]
    assert titles[4:6] == SHOWN[::-1]
    shares_axis, worst_axis = figures[0].axes[3:5]
    assert shares_axis.patches[0].get_data()[0].tolist() == [50, 100]
    assert (shares_axis.get_xlim(), shares_axis.get_ylim()) == ((0, 2), (0, 100))
    assert worst_axis.get_aspect() == 768 / 512  # as the original image
    assert [len(axis.images) for axis in figures[0].axes] == [0, 0, 0, 0, 1, 1, *[0] * 7]


@pytest.mark.parametrize("readers", [1, 2])
def test_the_legend_of_the_audit_names_each_landmark_of_each_reader(
    readers, data, ground_truth, figures, tmp_path
):
    measures = audit_table(ground_truth, {"all": ground_truth})
    second = data.landmarks.numpy() * [2, 3] + 5 if readers == 2 else None
    plots.audit_picture(measures, None, data, pd.Index([1, 0]), str(tmp_path / "a.png"), second)
    (legend,) = (legend for part in figures[0].subfigs for legend in part.legends)
    names = [text.get_text() for text in legend.get_texts()]
    kinds = ["ground truth", "second reader"][:readers]
    expected = [f"{name} {kind}" for kind in kinds for name in LANDMARK_NAMES]
    assert sorted(names) == sorted(expected)


def test_a_part_of_the_rows_that_is_not_annotated_does_not_look_like_0_percent(
    data, ground_truth, figures, tmp_path
):
    measures = audit_table(ground_truth, {"all": ground_truth})
    shares = (np.array([0, 1, 2]), np.array([np.nan, 1.0]))
    plots.audit_picture(measures, shares, data, pd.Index([]), str(tmp_path / "a.png"))
    bars, hatched = figures[0].axes[3].patches
    assert np.array_equal(bars.get_data()[0], [np.nan, 100], equal_nan=True)
    assert np.array_equal(hatched.get_data()[0], [100, np.nan], equal_nan=True)
    assert hatched.get_hatch()


def test_too_few_rows_have_no_panel_of_the_shares_along_them(data, ground_truth, figures, tmp_path):
    measures = audit_table(ground_truth, {"all": ground_truth})
    plots.audit_picture(measures, None, data, pd.Index([]), str(tmp_path / "a.png"))
    assert not figures[0].axes[3].axison
    assert figures[0].axes[2].axison


def test_the_legend_of_a_pdf_page_names_what_is_on_it(data, found, figures, tmp_path):
    plots.predictions(data, found, np.zeros(2, bool), str(tmp_path / "a.pdf"))
    (legend,) = figures[0].legends
    kinds = [text.get_text().split(" ", 1)[1] for text in legend.get_texts()]
    assert sorted(kinds) == ["ground truth"] * 4 + ["predicted"] * 4


def test_the_histograms_of_an_audit_hold_all_images_and_name_their_limits(
    data, ground_truth, figures, tmp_path
):
    measures = audit_table(ground_truth, {"all": ground_truth})
    measures["midpoint_distance"] = [0.1, 1.5]  # the second is beyond the end of the axis
    shares = (np.array([0, 1, 2]), np.array([0.5, 1.0]))
    plots.audit_picture(measures, shares, data, pd.Index([]), str(tmp_path / "a.png"))
    for axis, end, limit in zip(figures[0].axes, (90, 1, 1), (70, 0.2, 0.6)):
        assert axis.get_xlim() == (0, end)
        assert sum(bar.get_height() for bar in axis.patches) == 2
        assert axis.lines[0].get_xdata() == [limit, limit]
        (label,) = axis.get_legend().get_texts()
        assert label.get_text() == f"limit {limit}"


def test_training_curves_are_those_of_the_history_of_one_epoch_too(figures, tmp_path):
    history = {"train_losses": [0.3, 0.2, 0.1], "val_losses": [0.4, 0.25, 0.3]}
    history |= {"val_within_10_px": [0.2, 0.5, 0.75], "learning_rates": [1e-3, 1e-3, 5e-4]}
    first = {name: values[:1] for name, values in history.items()}
    for epochs in (history, first):
        plots.training_curves(epochs, str(tmp_path / "a.png"))
    best = [figure.axes[0].lines[2] for figure in figures]
    assert [line.get_label() for line in best] == [
        "best: 0.25000 in epoch 2",
        "best: 0.40000 in epoch 1",
    ]
    assert [line.get_xydata().tolist() for line in best] == [[[2, 0.25]], [[1, 0.4]]]
    left, middle, right = figures[0].axes
    curves = {line.get_label(): line.get_ydata().tolist() for line in left.lines[:2]}
    assert curves == {"training": [0.3, 0.2, 0.1], "validation": [0.4, 0.25, 0.3]}
    assert middle.lines[0].get_ydata().tolist() == [20, 50, 75]
    assert middle.lines[1].get_xydata().tolist() == [[2, 50]]
    assert right.lines[0].get_ydata().tolist() == [1e-3, 1e-3, 5e-4]


@pytest.mark.parametrize("epochs", [1, 2, 50])
def test_the_frame_cuts_off_no_line_and_no_star(epochs, figures, tmp_path):
    """At 0 and 100 %, at a learning rate of nearly 0, in the first and in the last epoch."""
    falling = np.linspace(1, 0.1, epochs)
    for losses, within in ((falling, falling.round()), (falling[::-1], 1 - falling.round())):
        history = {"train_losses": losses, "val_losses": losses, "val_within_10_px": within}
        history["learning_rates"] = list(1e-6 + 1e-3 * (falling - falling[-1]))
        plots.training_curves(history, str(tmp_path / "a.png"))
        for axis in figures[-1].axes:
            frame = axis.bbox
            for line in axis.lines:
                # Half of the marker, in px; a "." is drawn at half of its size.
                radius = line.get_markersize() / 2 * plots.DPI / 72
                x, y = axis.transData.transform(line.get_xydata()).T
                assert x.min() - radius > frame.x0
                assert x.max() + radius < frame.x1
                assert y.min() - radius > frame.y0
                assert y.max() + radius < frame.y1
        assert figures[-1].axes[1].lines[0].get_ydata().max() <= 100


def test_losses_are_drawn_on_a_log_scale_and_the_legends_name_the_best_epoch(figures, tmp_path):
    history = {"train_losses": [0.3, 0.2, 0.1], "val_losses": [0.4, 0.25, 0.3]}
    history |= {"val_within_10_px": [0.2, 0.5, 0.75], "learning_rates": [1e-3, 1e-3, 5e-4]}
    plots.training_curves(history, str(tmp_path / "a.png"))
    left, middle, right = figures[0].axes
    assert [axis.get_yscale() for axis in (left, middle, right)] == ["log", "linear", "linear"]
    assert middle.get_ylim() == pytest.approx((-3, 103), abs=1)  # all of 0 to 100 %
    labels = [
        [text.get_text() for text in axis.get_legend().get_texts()] for axis in (left, middle)
    ]
    assert labels == [
        ["training", "validation", "best: 0.25000 in epoch 2"],
        ["validation", "50.0 % in epoch 2"],
    ]


def test_each_diameter_has_a_colour_of_its_own_and_both_readers_the_same(
    data, found, figures, tmp_path
):
    plots.predictions(data, found, np.zeros(2, bool), str(tmp_path / "a.png"), found.annotated + 5)
    axis = figures[0].axes[2]
    for kind in ("ground truth", "predicted", "second reader"):
        marked = [line for line in axis.lines if line.get_label().endswith(kind)]
        assert [to_hex(line.get_color()) for line in marked] == ["#ffb000"] * 2 + ["#00c8ff"] * 2


def test_the_legend_of_the_predictions_names_each_mark_once(data, found, figures, tmp_path):
    plots.predictions(data, found, np.zeros(2, bool), str(tmp_path / "a.png"))
    (legend,) = figures[0].legends
    names = ("OFD-1", "OFD-2", "BPD-1", "BPD-2")
    assert [text.get_text() for text in legend.get_texts()] == [
        f"{name} {kind}" for kind in ("ground truth", "predicted") for name in names
    ]


def test_pictures_stand_upright_and_whole(data, found, figures, tmp_path):
    plots.predictions(data, found, np.zeros(2, bool), str(tmp_path / "a.png"))
    for axis in figures[0].axes:
        assert axis.get_xlim() == (-0.5, 255.5)
        assert axis.get_ylim() == (255.5, -0.5)  # row 0 is the upper one


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("curves", b"\x89PNG"),
        ("v1.2/curves", b"\x89PNG"),
        ("curves.JPG", b"\xff\xd8\xff"),
        ("curves.pdf", b"%PDF"),
    ],
)
def test_a_picture_has_the_format_that_its_ending_names_and_without_one_is_a_png(
    name, start, tmp_path
):
    (tmp_path / "v1.2").mkdir()
    plots.save(plots.new_figure(1, 1), str(tmp_path / name))
    assert (tmp_path / name).read_bytes().startswith(start)
