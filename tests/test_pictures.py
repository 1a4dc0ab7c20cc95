"""What the pictures of a run and of a test show, read from the figures."""

import re

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.colors import to_hex

from common.basics import drawing
from common.basics.drawing import new_picture, save_picture
from common.ground_truth import landmark_columns
from common.images import to_original
from common.results.pictures import draw_all_predictions, draw_errors, draw_predictions
from common.runs.curves import draw_augmentation, draw_curves
from tests.conftest import ellipse, images_of, predictions_of, some_of, table_of_test

pytestmark = pytest.mark.filterwarnings("error:Glyph")
# Read as mathematics, the first would end the run after the predictions, the second vanish. And
# matplotlib's font has no Chinese letters.
NAMES = ["头$_$b.png", f"$x$ \\alpha{'b' * 30}{'c' * 30}.png"]
SHOWN = [NAMES[0], f"$x$ \\alpha{'b' * 9}…{'c' * 16}.png"]  # long ones without their middle
HISTORY = {
    "train_losses": [0.3, 0.2, 0.1],
    "val_losses": [0.4, 0.25, 0.3],
    "val_within_10_px": [0.2, 0.5, 0.75],
    "learning_rates": [1e-3, 1e-3, 5e-4],
}
OFF = np.array([3, 4])  # px at 256×256, of what is found


@pytest.fixture
def data():
    """Two black images of 512×768 px with the same head, of which a pixel at 256×256 is 2 px wide
    and 3 px high."""
    landmarks = torch.tensor(np.array([ellipse(center=(128, 128))] * 2)).float()
    images = torch.zeros(2, 1, 256, 256, dtype=torch.uint8)
    return images_of(NAMES, images, landmarks, [[512, 768]] * 2)


@pytest.fixture
def found(data):
    """Each landmark is found 3 px to the right of where it is annotated, and 4 px below."""
    predicted = data.landmarks_px + OFF * [2, 3]
    return predictions_of(data.landmarks_px, predicted, data.sizes, names=np.array(NAMES))


def table_with(found, flagged=False, second=None):
    """The table of a test, with a second reader's landmarks in px at 256×256, if there are any."""
    table = table_of_test(found).assign(review=flagged)
    if second is not None:
        x, y = np.moveaxis(to_original(second, found.sizes), -1, 0)
        table = table.join(pd.DataFrame(landmark_columns({"second_x": x, "second_y": y})))
    return table


def places(axis, kind):
    """Where the four landmarks of a kind are marked."""
    return np.array([line.get_xydata()[0] for line in axis.lines if kind in line.get_label()])


def titles_of(figure):
    return [axis.get_title() for axis in figure.axes]


def frames_of(figure):
    """The colour of each panel's frame, of one colour each."""
    colors = [{to_hex(spine.get_edgecolor()) for spine in a.spines.values()} for a in figure.axes]
    return [color for (color,) in colors]


# Predictions


def test_each_landmark_is_marked_where_it_is_annotated_and_where_it_was_found(data, found):
    left, middle, right = draw_predictions(data, found.predicted, table_with(found)).axes[:3]
    true = data.landmarks[0].numpy()
    for axis, kind, expected in (
        (left, "ground truth", true),
        (middle, "predicted", true + OFF),
        (right, "ground truth", true),
        (right, "predicted", true + OFF),
    ):
        assert places(axis, kind) == pytest.approx(expected, abs=1e-3)
    assert len(places(left, "predicted")) == len(places(middle, "ground truth")) == 0


def test_each_landmark_has_a_marker_that_tells_it_from_the_other_three(data, found):
    left, middle, _ = draw_predictions(data, found.predicted, table_with(found)).axes[:3]
    for axis, kind in ((left, "ground truth"), (middle, "predicted")):
        marked = [line for line in axis.lines if kind in line.get_label()]
        assert [line.get_label()[:5] for line in marked] == ["OFD-1", "OFD-2", "BPD-1", "BPD-2"]
        assert len({line.get_marker() for line in marked}) == 4


def test_lines_join_the_ends_of_an_annotated_diameter_and_each_landmark_with_what_was_found(
    data, found
):
    left, middle, right = draw_predictions(data, found.predicted, table_with(found)).axes[:3]
    true = data.landmarks[0].numpy()
    diameters = [true[:2], true[2:]]
    errors = [[point, point + OFF] for point in true]
    for axis, expected in ((left, diameters), (middle, []), (right, [*diameters, *errors])):
        lines = [line.get_xydata() for line in axis.lines if len(line.get_xydata()) == 2]
        assert np.allclose(lines, expected, atol=1e-3)


def test_titles_name_the_image_and_its_mean_error_and_a_red_frame_what_is_flagged(data, found):
    found.errors[0] = [1, 2, 3, np.nan]
    found.errors[1] = np.nan
    figure = draw_predictions(data, found.predicted, table_with(found, [False, True]))
    assert titles_of(figure) == [
        *(f"{SHOWN[0]}: ground truth", "prediction", "overlay, mean error 2.0 px"),
        *(f"{SHOWN[1]}: ground truth", "prediction: TO BE REVIEWED", "overlay, not annotated"),
    ]
    assert frames_of(figure) == ["#000000"] * 3 + [to_hex("crimson")] * 3


def test_without_annotations_there_are_the_image_and_the_prediction(data, found):
    data.landmarks[:], found.errors[:] = np.nan, np.nan
    figure = draw_predictions(data, found.predicted, table_with(found, [True, False]))
    assert titles_of(figure) == [SHOWN[0], "prediction: TO BE REVIEWED", SHOWN[1], "prediction"]
    assert frames_of(figure) == [to_hex("crimson")] * 2 + ["#000000"] * 2
    image, prediction = figure.axes[:2]
    assert not image.lines
    seen = found.predicted[0]
    assert places(prediction, "predicted") == pytest.approx(seen, abs=1e-3)
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 4  # a mark that does not appear is not named


def repeated(data, count):
    """The first image so many times, the i-th a grey level brighter than the one before."""
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 256, 256)
    landmarks, names = data.landmarks[:1].repeat(count, 1, 1), [str(i) for i in range(count)]
    return images_of(names, images, landmarks, data.sizes[:1].repeat(count, axis=0))


def test_of_many_images_six_are_drawn_evenly_spaced_from_the_first_to_the_last(data, found):
    figure = draw_predictions(
        repeated(data, 21), found.predicted[[0] * 21], table_with(some_of(found, *[0] * 21))
    )
    titles = [title.partition(":")[0] for title in titles_of(figure)[::3]]
    assert titles == ["0", "4", "8", "12", "16", "20"]
    grey = [round(255 * axis.images[0].get_array().max()) for axis in figure.axes[::3]]
    assert grey == [0, 4, 8, 12, 16, 20]


def test_a_second_reader_is_marked_where_there_is_one(data, found):
    second = data.landmarks.numpy() + np.array([7, 9])
    second[1] = np.nan
    figure = draw_predictions(data, found.predicted, table_with(found, second=second))
    first, last = figure.axes[2::3]
    assert places(first, "second reader") == pytest.approx(second[0], abs=1e-3)
    assert len(places(last, "second reader")) == 0


def test_each_diameter_has_a_colour_of_its_own_and_both_readers_the_same(data, found):
    second = data.landmarks.numpy() + 5
    axis = draw_predictions(data, found.predicted, table_with(found, second=second)).axes[2]
    for kind in ("ground truth", "predicted", "second reader"):
        marked = [line for line in axis.lines if line.get_label().endswith(kind)]
        assert [to_hex(line.get_color()) for line in marked] == ["#ffb000"] * 2 + ["#00c8ff"] * 2


def test_the_legend_of_the_predictions_names_each_mark_once(data, found):
    (legend,) = draw_predictions(data, found.predicted, table_with(found)).legends
    names = ("OFD-1", "OFD-2", "BPD-1", "BPD-2")
    assert [text.get_text() for text in legend.get_texts()] == [
        f"{name} {kind}" for kind in ("ground truth", "predicted") for name in names
    ]


def test_pictures_stand_upright_and_whole(data, found):
    for axis in draw_predictions(data, found.predicted, table_with(found)).axes:
        assert axis.get_xlim() == (-0.5, 255.5)
        assert axis.get_ylim() == (255.5, -0.5)  # row 0 is the upper one
        (image,) = axis.images
        assert image.get_array().shape == (256, 256, 3)


def test_pages_show_every_image_six_a_page_in_one_panel_each(data, found):
    """Eight images are two pages, of six and of two; the last one is flagged."""
    eight, found = repeated(data, 8), some_of(found, *[0] * 8)
    found.errors[7] = np.nan
    pages = list(draw_all_predictions(eight, found.predicted, table_with(found, np.arange(8) == 7)))
    titles = [f"{i}\nmean error 5.0 px" for i in range(7)]
    titles.append("7\nnot annotated: TO BE REVIEWED")
    assert list(map(titles_of, pages)) == [titles[:6], [*titles[6:], "", "", "", ""]]
    assert [axis.axison for axis in pages[1].axes] == [True] * 2 + [False] * 4
    last, true = pages[1].axes[1], eight.landmarks[7].numpy()
    assert {to_hex(spine.get_edgecolor()) for spine in last.spines.values()} == {to_hex("crimson")}
    assert places(last, "ground truth") == pytest.approx(true)
    assert places(last, "predicted") == pytest.approx(true + OFF, abs=1e-3)
    for page in pages:
        (legend,) = page.legends
        kinds = [text.get_text().split(" ", 1)[1] for text in legend.get_texts()]
        assert sorted(kinds) == ["ground truth"] * 4 + ["predicted"] * 4


# Errors


def test_the_picture_of_errors_shows_every_known_error_and_its_figures():
    nan = np.nan  # BPD-2 is not annotated at all, and OFD-1 not everywhere
    errors = np.array([[1.0, 20, 300, nan], [2, 30, 400, nan], [nan, 70, 500, nan]])
    left, right = draw_errors(errors).axes
    assert left.get_title() == "Pixel errors of 8 landmarks on 3 images"
    assert sum(bar.get_height() for bar in left.patches) == 8
    assert [line.get_xdata()[0] for line in left.lines] == [1323 / 8, 50]
    texts = [text.get_text() for text in left.get_legend().get_texts()]
    assert texts == ["mean 165.38 px", "median 50.00 px"]
    assert [label.get_text() for label in right.get_xticklabels()] == [
        "OFD-1\nmean 1.5\nmedian 1.5",
        "OFD-2\nmean 40.0\nmedian 30.0",
        "BPD-1\nmean 400.0\nmedian 400.0",
        "BPD-2",
    ]
    lower_quartiles = [box.get_path().vertices[:, 1].min() for box in right.patches]
    assert lower_quartiles[:3] == [1.25, 25, 350]
    assert left.get_xlim()[0] == right.get_ylim()[0] == 0
    assert left.get_subplotspec().rowspan == right.get_subplotspec().rowspan  # side by side


def test_an_image_without_annotation_is_not_counted_in_the_picture_of_errors():
    errors = np.array([[1.0, 2, 3, 4], [np.nan] * 4])
    assert draw_errors(errors).axes[0].get_title() == "Pixel errors of 4 landmarks on 1 images"


# Augmentation and training


@pytest.fixture
def saved(monkeypatch):
    """The figures that a run saves, in order."""
    figures = []
    monkeypatch.setattr(
        "common.basics.drawing.save_picture", lambda figure, _: figures.append(figure)
    )
    return figures


def test_augmentation_examples_show_eight_versions_with_their_landmarks(data, saved):
    def augment(images, landmarks, generator):
        number = torch.arange(8)[:, None, None]
        return images + number[..., None] / 8, landmarks + number

    draw_augmentation(data, augment, 42, "a.png")
    assert len(saved[0].axes) == 8
    for number, axis in enumerate(saved[0].axes):
        assert (axis.images[0].get_array() == number / 8).all()
        expected = data.landmarks[0].numpy() + number
        assert places(axis, "ground truth") == pytest.approx(expected)


def test_augmentation_examples_are_those_of_the_first_image_by_the_seed(data, saved):
    data.images[1] = 255

    def augment(images, landmarks, generator):
        return images, landmarks + torch.rand(8, 1, 1, generator=generator)

    for seed in (42, 42, 43):
        draw_augmentation(data, augment, seed, "a.png")
    first, again, other = ([places(axis, "ground truth") for axis in f.axes] for f in saved)
    assert np.array_equal(first, again)
    assert not np.isclose(first, other).any()
    assert all(axis.images[0].get_array().max() == 0 for axis in saved[0].axes)


def test_training_curves_are_those_of_the_history_of_one_epoch_too(saved):
    first = {name: values[:1] for name, values in HISTORY.items()}
    for epochs in (HISTORY, first):
        draw_curves(epochs, "a.png")
    best = [figure.axes[0].lines[2] for figure in saved]
    assert [line.get_label() for line in best] == [
        "best: 0.25000 in epoch 2",
        "best: 0.40000 in epoch 1",
    ]
    assert [line.get_xydata().tolist() for line in best] == [[[2, 0.25]], [[1, 0.4]]]
    left, middle, right = saved[0].axes
    curves = {line.get_label(): line.get_ydata().tolist() for line in left.lines[:2]}
    assert curves == {"training": [0.3, 0.2, 0.1], "validation": [0.4, 0.25, 0.3]}
    assert middle.lines[0].get_ydata().tolist() == [20, 50, 75]
    assert middle.lines[1].get_xydata().tolist() == [[2, 50]]
    assert right.lines[0].get_ydata().tolist() == [1e-3, 1e-3, 5e-4]


def test_each_panel_of_the_curves_says_what_it_shows(saved):
    draw_curves(HISTORY, "a.png")
    panels = [(a.get_title(), a.get_ylabel(), a.get_xlabel()) for a in saved[0].axes]
    assert panels == [
        ("Loss", "loss (log scale)", "epoch"),
        ("Landmarks within 10 px", "%", "epoch"),
        ("Learning rate", "learning rate", "epoch"),
    ]
    for axis in saved[0].axes:
        assert all(tick == int(tick) for tick in axis.get_xticks())  # there is no half epoch


@pytest.mark.parametrize("epochs", [1, 2, 50])
def test_the_frame_cuts_off_no_line_and_no_star(epochs, saved):
    """At 0 and 100 %, at a learning rate of nearly 0, in the first and in the last epoch."""
    falling = np.linspace(1, 0.1, epochs)
    for losses, within in ((falling, falling.round()), (falling[::-1], 1 - falling.round())):
        history = {"train_losses": losses, "val_losses": losses, "val_within_10_px": within}
        history["learning_rates"] = list(1e-6 + 1e-3 * (falling - falling[-1]))
        draw_curves(history, "a.png")
        saved[-1].draw_without_rendering()  # lays out the axes
        for axis in saved[-1].axes:
            frame = axis.bbox
            for line in axis.lines:
                # Half of the marker, in px; a "." is drawn at half of its size.
                radius = line.get_markersize() / 2 * drawing.DPI / 72
                x, y = axis.transData.transform(line.get_xydata()).T
                assert x.min() - radius > frame.x0
                assert x.max() + radius < frame.x1
                assert y.min() - radius > frame.y0
                assert y.max() + radius < frame.y1
        assert saved[-1].axes[1].lines[0].get_ydata().max() <= 100


def test_losses_are_drawn_on_a_log_scale_and_the_legends_name_the_best_epoch(saved):
    draw_curves(HISTORY, "a.png")
    left, middle, right = saved[0].axes
    assert [axis.get_yscale() for axis in (left, middle, right)] == ["log", "linear", "linear"]
    assert middle.get_ylim() == pytest.approx((-3, 103), abs=1)  # all of 0 to 100 %
    labels = [
        [text.get_text() for text in axis.get_legend().get_texts()] for axis in (left, middle)
    ]
    assert labels == [
        ["training", "validation", "best: 0.25000 in epoch 2"],
        ["validation", "50.0 % in epoch 2"],
    ]


# Files


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
    save_picture(new_picture(1, 1), str(tmp_path / name))
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_name_of_40_characters_is_whole_and_a_longer_one_without_its_middle():
    assert drawing.shorten("a" * 20 + "b" * 20) == "a" * 20 + "b" * 20
    assert drawing.shorten("a" * 20 + "b" * 21) == "a" * 19 + "…" + "b" * 20


def test_several_figures_are_the_pages_of_a_pdf(tmp_path):
    save_picture((new_picture(1, 1) for _ in range(3)), str(tmp_path / "a.PDF"))
    pdf = (tmp_path / "a.PDF").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type /Page\b", pdf)) == 3


@pytest.mark.parametrize("is_annotated", [True, False])
@pytest.mark.parametrize("name", ["a.png", "a.pdf"])
def test_names_in_any_letters_are_drawn_without_a_warning_and_not_read_as_mathematics(
    name, is_annotated, data, found, tmp_path
):
    if not is_annotated:
        data.landmarks[:], found.errors[:] = np.nan, np.nan
    draw = draw_all_predictions if name == "a.pdf" else draw_predictions
    for flagged in (False, True):
        save_picture(draw(data, found.predicted, table_with(found, flagged)), str(tmp_path / name))
    assert (tmp_path / name).stat().st_size > 10_000


def test_a_picture_that_cannot_be_saved_leaves_the_old_one(tmp_path):
    """Of a PDF, the second page fails."""
    (tmp_path / "a.pdf").write_bytes(b"old")

    def pages():
        yield new_picture(1, 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_picture(pages(), str(tmp_path / "a.pdf"))
    assert (tmp_path / "a.pdf").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_users_own_settings_of_matplotlib_do_not_count(monkeypatch):
    monkeypatch.setitem(matplotlib.rcParams, "font.size", 40)
    new_picture(1, 1)
    assert matplotlib.rcParams["font.size"] == 10
