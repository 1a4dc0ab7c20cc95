"""Image files: how they are found, decoded and scaled, and which are refused."""

import os
import re
import threading
import time
import warnings

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image  # which matplotlib needs, so it is there

from common import UserError, images
from common.ground_truth import image_table, read_ground_truth
from common.heatmaps import gaussian_heatmaps
from common.images import (
    ask_about_units,
    check_landmarks,
    dataset_fingerprint,
    list_images,
    load_images,
    to_256,
    to_original,
)
from tests.benchmark import PlainDataset
from tests.conftest import ellipse, some_images, table_of

NOT_ANNOTATED = [np.nan] * 8
RAMP = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
NOISE = np.random.default_rng(0).integers(0, 256, (200, 300), dtype=np.uint8)


def load(folder, *names, landmarks=NOT_ANNOTATED):
    """Images with the same landmarks each."""
    return load_images(table_of(*[landmarks] * len(names), names=names), str(folder))


def two_tones(height, width, upper, lower):
    """The upper half of one value or colour, the lower half of another."""
    picture = np.zeros((height, width, *np.shape(upper)), np.uint8)
    picture[: height // 2], picture[height // 2 :] = upper, lower
    return picture


def encoded(ending, picture):
    return cv2.imencode(ending, picture)[1].tobytes()


def test_images_are_rgb_in_0_to_1_and_landmarks_scale(tmp_path):
    # OpenCV writes BGR: this picture is pure red above and black below.
    cv2.imwrite(str(tmp_path / "red.png"), two_tones(100, 400, (0, 0, 255), (0, 0, 0)))
    cv2.imwrite(str(tmp_path / "grey.png"), two_tones(100, 400, 51, 0))
    data = load(tmp_path, "red.png", "grey.png", landmarks=[200, 25, 0, 0, 399, 99, 100, 50])
    images, landmarks = data.batch(slice(0, 2))
    assert images.shape == (2, 3, 256, 256)
    assert images.dtype == torch.float32
    assert images[0, :, 0, 0].tolist() == [1, 0, 0]
    assert images[0, :, 255, 255].tolist() == [0, 0, 0]
    assert images[1, :, 0, 0].tolist() == pytest.approx([0.2, 0.2, 0.2])
    assert data.sizes.tolist() == [[400, 100]] * 2
    # x · 256/400 and y · 256/100, by hand
    expected = [[128, 64], [0, 0], [255.36, 253.44], [64, 128]]
    torch.testing.assert_close(landmarks[0], torch.tensor(expected), rtol=0, atol=1e-4)


def test_grey_images_of_any_name_are_kept_in_one_channel_in_the_tables_order(tmp_path):
    (tmp_path / "sub").mkdir()
    names = ["sub/Kopf (1) [ä].png", "*.png", "100% a'\"b$_$.png"]
    for width, (name, value) in enumerate(zip(names, (200, 0, 51)), 40):
        (tmp_path / name).write_bytes(encoded(".png", two_tones(30, width, value, 255)))
    data = load(tmp_path, *names)
    assert data.images.shape == (3, 1, 256, 256)
    assert data.images.dtype == torch.uint8
    images, _ = data.batch(torch.tensor([2, 0]))
    assert images.shape == (2, 3, 256, 256)
    assert images[:, :, 0, 0].flatten().tolist() == pytest.approx([0.2] * 3 + [200 / 255] * 3)
    assert data[1:].names == names[1:]
    assert data[1:].images[:, 0, 0, 0].tolist() == [0, 51]
    assert data[1:].sizes.tolist() == [[41, 30], [42, 30]]


def test_resizing_is_bilinear(tmp_path):
    # Halving a picture bilinearly averages 2×2 blocks: columns 0, 100, 0, 100, … become 50.
    picture = np.zeros((512, 512), np.uint8)
    picture[:, 1::2] = 100
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    assert (load(tmp_path, "a.png").images == 50).all()


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_one_picture_in_any_depth_is_read_alike(tmp_path, ending):
    """8-bit grey, colour, alpha and 16-bit files. Bytes after the end of the file are no matter."""
    variants = {"grey": RAMP, "colour": np.dstack([RAMP] * 3)}
    if ending == ".png":
        variants["alpha"] = np.dstack([RAMP] * 3 + [RAMP.T])
        variants["16-bit"] = RAMP.astype(np.uint16) * 257
        variants["16-bit colour"] = np.dstack([RAMP.astype(np.uint16) * 257] * 3)
    for name, picture in variants.items():
        content = encoded(ending, picture) + b"made by a scanner"
        (tmp_path / f"{name}{ending}").write_bytes(content)
    data = load(tmp_path, *(f"{name}{ending}" for name in variants))
    assert data.images.shape == (len(variants), 1, 256, 256)
    for image in data.images:
        assert np.abs(image[0].numpy().astype(int) - RAMP).max() <= (2 if ending == ".jpg" else 0)


@pytest.mark.parametrize(("largest", "bits"), [(100, 8), (256, 9), (4000, 12), (65535, 16)])
def test_16_bit_files_are_scaled_by_the_bits_that_they_use(tmp_path, largest, bits):
    """A 12-bit picture of DICOM in a 16-bit file keeps its brightness."""
    picture = np.linspace(0, largest, 256 * 256).round().astype(np.uint16).reshape(256, 256)
    cv2.imwrite(str(tmp_path / "deep.png"), picture)
    cv2.imwrite(str(tmp_path / "plain.png"), RAMP)
    data = load(tmp_path, "deep.png", "plain.png")
    expected = picture / (2**bits - 1) * 255
    assert np.abs(data.images[0, 0].numpy() - expected).max() <= 0.501
    assert (data.images[1, 0].numpy() == RAMP).all()


def test_the_colours_of_a_16_bit_file_are_scaled_alike(tmp_path):
    red_and_blue = two_tones(30, 40, (0, 0, 1), (1, 0, 0)).astype(np.uint16) * [500, 0, 4095]
    cv2.imwrite(str(tmp_path / "a.png"), red_and_blue.astype(np.uint16))
    images = load(tmp_path, "a.png").images
    assert images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert images[0, :, 255, 0].tolist() == [0, 0, 31]  # 500 / 4095 · 255


@pytest.mark.parametrize(
    ("mode", "ending"),
    [
        *[("1", ".png"), ("LA", ".png"), ("P", ".png"), ("RGBA", ".png"), ("CMYK", ".jpg")],
        *[("1", ".tiff"), ("RGB", ".tiff"), ("RGB", ".webp"), ("RGBA", ".webp"), ("RGB", ".bmp")],
    ],
)
def test_pictures_of_many_kinds_are_read_as_pillow_reads_them(tmp_path, mode, ending):
    picture = Image.fromarray(two_tones(256, 256, (200, 30, 90), (10, 60, 250))).convert(mode)
    if mode in ("LA", "RGBA"):
        picture.putalpha(Image.fromarray(RAMP))
    picture.save(tmp_path / f"a{ending}")
    expected = np.asarray(Image.open(tmp_path / f"a{ending}").convert("RGB")).astype(int)
    image = load(tmp_path, f"a{ending}").images[0].numpy().transpose(1, 2, 0)
    assert image.shape[2] == (1 if mode in ("1", "L", "LA") else 3)
    assert np.abs(image - expected).max() <= (2 if mode == "CMYK" else 0)


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
def test_pixels_are_taken_as_they_are_stored(tmp_path, ending):
    """An annotation tool's coordinates are those of the pixels, whatever EXIF asks for."""
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: to be shown turned by a right angle
    path = tmp_path / f"a{ending}"
    picture = two_tones(40, 60, 250, 0)
    picture[:, 30:] //= 5  # light at the upper left, dimmer at the upper right
    Image.fromarray(picture).save(path, exif=exif)
    assert Image.open(path).getexif()[0x0112] == 6
    data = load(tmp_path, path.name)
    assert data.sizes.tolist() == [[60, 40]]
    corners = data.images[0, 0][[0, 0, 255, 255], [0, 255, 0, 255]].tolist()
    assert corners == pytest.approx([250, 50, 0, 0], abs=5)


def test_a_landmark_may_lie_just_outside_by_one_coordinate(tmp_path, capsys):
    """By 5 % of the side at most: 20 px of 400 and 5 px of 100."""
    # (421.05 - 401) / 401 and (98.7 - 94) / 94 are 0.05, but above it as floating-point numbers.
    cv2.imwrite(str(tmp_path / "a.png"), two_tones(94, 401, 9, 0))
    load(tmp_path, "a.png", landmarks=[-20.05, 50, 200, 98.7, 421.05, 93, 399, -4.7])
    assert capsys.readouterr().out.startswith("4 landmarks lie just outside")
    cv2.imwrite(str(tmp_path / "a.png"), two_tones(100, 400, 9, 0))
    data = load(tmp_path, "a.png", landmarks=[-20, 50, 200, 105, 420, 99, 399, -5])
    assert data.landmarks[0, :, 0].tolist() == pytest.approx([-12.8, 128, 268.8, 255.36])
    printed = capsys.readouterr().out
    assert printed == "4 landmarks lie just outside their image, where the skull is cut off\n"
    for x, y in ((-20.5, 50), (421, 50), (200, 105.5), (200, -6), (-1, 100), (400, -1)):
        message = rf"row 1: a.png: BPD-1 \({x}, {y}\) lies outside the image of 400×100"
        with pytest.raises(UserError, match=message):
            load(tmp_path, "a.png", landmarks=[1, 2, 3, 4, x, y, 7, 8])


SIZE = (800, 540)  # width and height of 608 of the 622 images of the report's file
MIDDLES = (350, 392, 430)  # of three heads, along x: the median is 0.49 of the width


def heads(*middles):
    return np.array([ellipse(200, 160, center=(x, 270)) for x in middles])


def questions(points=None, sizes=SIZE, rate=np.nan):
    """The questions on three heads like the report's, but for what is given."""
    points = heads(*MIDDLES) if points is None else points
    sizes = np.broadcast_to(np.asarray(sizes, float), (len(points), 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # NumPy's, of what is not known
        return ask_about_units(points, sizes, np.broadcast_to(rate, len(points)).astype(float))


@pytest.mark.parametrize(
    ("size", "center", "nearest"),
    [
        ((100, 100), "0.06", "0.05"),
        ((256, 256), "0.16", "0.14"),
        ((512, 512), "0.31", "0.28"),
    ],
)
def test_percent_and_px_of_resized_images_are_asked_about_with_the_original_images(
    size, center, nearest
):
    points = heads(*MIDDLES) * np.array(size) / SIZE
    assert questions(points) == [
        f"the centres of the heads lie at {center} of the width in the median, one of them at "
        f"{nearest}. Are these px of the original images?"
    ]


def test_nothing_is_asked_about_data_of_the_reports_kind():
    assert questions() == []
    assert questions(rate=0.115) == []  # HC18's images are 92 mm wide in the median
    assert questions(np.full((3, 4, 2), np.nan)) == []
    # Resized with their coordinates, as such images may be.
    assert questions(heads(*MIDDLES) * 256 / np.array(SIZE), (256, 256)) == []


@pytest.mark.parametrize(
    ("middles", "is_asked"),
    [
        ((279, 279, 279), True),  # 0.35 of the width are 280 px
        ((280, 280, 280), False),
        ((200, 200), False),  # two images
        ((200, 200, 400), True),  # the median decides
        ((200, 400, 400), False),
    ],
)
def test_heads_are_asked_about_whose_median_centre_is_left_of_0_35_of_the_width(middles, is_asked):
    assert bool(questions(heads(*middles))) is is_asked


def test_the_centre_of_a_head_is_told_by_one_whole_diameter():
    left = heads(200, 200, 200)
    left[0, 2:] = left[1, :2] = np.nan
    assert questions(left) != []
    left[2, [0, 2]] = np.nan  # an end of each is left: no centre, so there are two
    assert questions(left) == []


@pytest.mark.parametrize(
    ("sizes", "rate", "said"),
    [
        ((256, 256), 0.115, "29.44 to 29.44 mm wide, 29.44 in the median, and 100%"),
        ((256, 256), 0.36, "92.16 to 92.16 mm wide, 92.16 in the median, and 100%"),
        (SIZE, 1 / 0.115, "6957 to 6957 mm wide, 6957 in the median, and 0%"),  # px per mm
        (SIZE, 0.0499, "39.92 to 39.92 mm wide, 39.92 in the median, and 0%"),
        (SIZE, 0.501, "400.8 to 400.8 mm wide, 400.8 in the median, and 0%"),
        (SIZE, [0.01, 0.01, 0.1], "8 to 80 mm wide, 8 in the median, and 0%"),
        (
            *([SIZE, (256, 256), (400, 400)], 0.2),
            "51.2 to 160 mm wide, 80 in the median, and 67%",
        ),
        # One image, which would not be 30 to 500 mm wide.
        (SIZE, [6.5, np.nan, np.nan], "5200 to 5200 mm wide, 5200 in the median, and 0%"),
        (SIZE, [0.0115, np.nan, np.nan], "9.2 to 9.2 mm wide, 9.2 in the median, and 0%"),
        (SIZE, [0.1, 0.1, 8.7], "80 to 6960 mm wide, 80 in the median, and 0%"),
        (SIZE, [0.0374, np.nan, np.nan], "29.92 to 29.92 mm wide, 29.92 in the median, and 0%"),
    ],
)
def test_pixel_sizes_are_asked_about_that_cannot_be_those_of_these_images(sizes, rate, said):
    assert questions(np.full((3, 4, 2), np.nan), sizes, rate) == [
        f"by px_to_mm_rate the images are {said} of them are square. Does it belong to these image "
        "files?"
    ]


@pytest.mark.parametrize(
    ("sizes", "rate"),
    [
        (SIZE, 0.05),  # 40 mm
        (SIZE, 0.5),  # 400 mm
        ((256, 256), np.nan),
        (SIZE, [0.0375, 0.1, 0.1]),  # 30 mm
        (SIZE, [0.625, 0.625, np.nan]),  # 500 mm, two images
        ([SIZE, SIZE, (256, 256), (256, 256)], 0.3),  # half of them are square
        ([SIZE, SIZE, SIZE, (40, 40), (40, 40), (40, 40), (40, 40)], [0.1] * 3 + [np.nan] * 4),
    ],
)
def test_pixel_sizes_are_not_asked_about_that_may_be_those_of_these_images(sizes, rate):
    count = max(len(np.atleast_2d(sizes)), 3)
    assert questions(np.full((count, 4, 2), np.nan), sizes, rate) == []


@pytest.mark.parametrize(
    ("x", "y", "is_asked"),
    [(159, 270, True), (161, 270, False), (400, 107, True), (400, 109, False)],
)
def test_one_head_within_a_fifth_of_the_left_or_upper_border_is_asked_about(x, y, is_asked):
    """Of 800×540 px: 160 and 108 px. So are a single image in percent, and y alone."""
    points = np.array([ellipse(80, 60, center=(x, y))])
    assert [text.endswith("px of the original images?") for text in questions(points)] == (
        [True] * is_asked
    )


def test_each_question_is_a_line_that_names_its_source(capsys):
    points = heads(*MIDDLES) * 256 / np.array(SIZE)
    names = pd.Series(["a.png", "b.png", "c.png"])
    check_landmarks(points, np.array([SIZE] * 3, float), np.full(3, 3.0), names, "my.csv")
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("my.csv: the centres of the heads lie at 0.16 ")
    assert second.startswith("my.csv: by px_to_mm_rate the images are 2400 to 2400 mm wide")
    assert first.endswith("?")
    assert second.endswith("?")


def test_points_are_scaled_to_256_px_and_back_by_the_size_of_each_image():
    points, sizes = np.full((2, 4, 2), 64.0), np.array([[512.0, 768], [256, 128]])
    expected = np.repeat([[[32, 64 / 3]], [[64, 128]]], 4, axis=1)
    assert to_256(points, sizes) == pytest.approx(expected)
    assert to_original(expected, sizes) == pytest.approx(points)


def test_landmarks_sizes_and_pixel_sizes_of_the_original_images_stay_with_them(tmp_path):
    for name, width in (("a.png", 400), ("b.png", 200)):
        cv2.imwrite(str(tmp_path / name), two_tones(100, width, 9, 0))
    first, second = [200, 25, 0, 0, 399, 99, 100, 50], [100, 25, 0, 0, 199, 99, 50, np.nan]
    table = table_of(first, second, names=["a.png", "b.png"])
    assert np.isnan(load_images(table, str(tmp_path)).rate).all()
    data = load_images(table.assign(px_to_mm_rate=[np.nan, 0.2]), str(tmp_path))
    assert data.landmarks_px[0].ravel().tolist() == first
    one = data[1:]
    assert len(one) == 1
    assert one.names == ["b.png"]
    assert one.sizes.tolist() == [[200, 100]]
    assert one.rate.tolist() == [0.2]
    assert one.landmarks_px[0, 2].tolist() == [199, 99]
    assert one.landmarks[0, 2].tolist() == pytest.approx([254.72, 253.44])
    assert torch.equal(one.images, data.images[1:])


def test_a_fingerprint_is_of_pixels_and_landmarks_and_not_of_names():
    data, same = some_images(3, seed=0), some_images(3, seed=0)
    same.names = ["x", "y", "z"]
    assert dataset_fingerprint(data) == dataset_fingerprint(same) != dataset_fingerprint(data[:2])
    assert dataset_fingerprint(data[:2], data[2:]) != dataset_fingerprint(data[2:], data[:2])
    same.landmarks[2, 3, 1] += 1
    assert dataset_fingerprint(data) != dataset_fingerprint(same)
    same = some_images(3, seed=0)
    same.images[2, 0, 31, 31] ^= 1
    assert dataset_fingerprint(data) != dataset_fingerprint(same)


def test_a_name_is_found_however_its_signs_are_composed(tmp_path):
    composed, decomposed = "\u00e4.png", "a\u0308.png"
    for on_disk, asked in ((composed, decomposed), (decomposed, composed)):
        folder = tmp_path / str(len(on_disk))
        folder.mkdir()
        (folder / on_disk).write_bytes(encoded(".png", RAMP))
        assert load(folder, asked).names == [asked]


def test_the_images_of_a_folder_are_listed_by_name_without_masks(tmp_path):
    masks = ("10_Annotation.tiff", "b_annotation.PNG")  # as HC18 has them
    for folder, names in (
        (".", ("b.PNG", "a.jpg", "c.csv", "._a.jpg", "10.tiff", *masks)),
        ("masks", masks),
        ("scans", ("1.2.dcm", "a.b.nii.gz", "README")),
        ("odd", (os.fsdecode(b"\xff.png"),)),  # as an old archive has them
    ):
        (tmp_path / folder).mkdir(exist_ok=True)
        for name in names:
            (tmp_path / folder / name).touch()
    assert list_images(str(tmp_path)) == ["10.tiff", "a.jpg", "b.PNG"]
    with pytest.raises(UserError, match=r"^odd: row 1: .*not UTF-8$"):
        image_table(list_images(str(tmp_path / "odd")), "odd")
    for folder, message in (
        ("masks", r"holds no images \(.bmp, .*, .webp\)$"),
        ("scans", r"holds no images \(.bmp, .*, .webp\)$"),
        ("no", "cannot be read: No such file"),
    ):
        with pytest.raises(UserError, match=message):
            list_images(str(tmp_path / folder))


def test_the_folder_above_the_images_is_told_where_they_are(tmp_path):
    """The sub-folder with the most of them, in one line."""
    for folder, names in (
        ("empty", ()),
        ("images", ("000_HC.png", "001_HC.png", "002_HC.png", "003_HC.png")),
        ("masks", tuple(f"{i:03d}_HC_Annotation.png" for i in range(9))),
        ("old", ("000_HC.png",)),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes(encoded(".png", RAMP))
    (tmp_path / "ground_truth.csv").touch()
    place = f"but its sub-folder images does: give {tmp_path / 'images'}"
    with pytest.raises(UserError) as caught:
        list_images(str(tmp_path))
    assert re.sub(r" \(.*\)", "", str(caught.value)) == f"{tmp_path}: holds no images, {place}"
    names = ["gone.png", "000_HC.png", "001_HC.png"]
    with pytest.raises(UserError) as caught:
        load(tmp_path, *names)
    assert str(caught.value) == f"{tmp_path}: holds none of the images, {place}"
    # Where one of them is there, it is the right folder, and what is missing is named.
    (tmp_path / "gone.png").write_bytes(encoded(".png", RAMP))
    with pytest.raises(UserError, match=r"2 problems\n  row 2: 000_HC\.png: no such file"):
        load(tmp_path, *names)
    assert load(tmp_path, "old/000_HC.png").names == ["old/000_HC.png"]


@pytest.fixture
def sixteen_at_once(monkeypatch):
    """Files of which none is read until sixteen are asked for at the same time."""
    together = threading.Barrier(16)
    fromfile = np.fromfile

    def fromfile_slowly(*arguments, **options):
        together.wait(timeout=10)  # an error where there are fewer than 16 readers
        return fromfile(*arguments, **options)

    monkeypatch.setattr(np, "fromfile", fromfile_slowly)


def ramps(folder, count):
    names = [f"{i}.png" for i in range(count)]
    for name in names:
        (folder / name).write_bytes(encoded(".png", RAMP))
    return names


@pytest.mark.parametrize("cores", [1, 64])
@pytest.mark.usefixtures("sixteen_at_once")
def test_sixteen_images_are_waited_for_at_once_whatever_the_cores(tmp_path, monkeypatch, cores):
    """A folder that is mounted from elsewhere answers each access after a while."""
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    names = ramps(tmp_path, 32)
    assert load(tmp_path, *names).names == names


@pytest.mark.usefixtures("sixteen_at_once")
def test_no_more_images_are_decoded_at_once_than_there_are_cores(tmp_path, monkeypatch):
    """Sixteen large ones, in full size, would fill the memory of a small machine."""
    free = 0
    while images.DECODING.acquire(blocking=False):
        free += 1
    images.DECODING.release(free)
    assert free == os.cpu_count()

    decode, resize = cv2.imdecode, cv2.resize
    in_full_size, numbers = set(), []

    def decode_slowly(*arguments):
        in_full_size.add(threading.get_ident())
        numbers.append(len(in_full_size))
        time.sleep(0.01)  # long enough for another to begin
        return decode(*arguments)

    def resize_and_note(*arguments, **options):
        resized = resize(*arguments, **options)
        in_full_size.discard(threading.get_ident())
        return resized

    monkeypatch.setattr(images, "DECODING", threading.Semaphore(2))
    monkeypatch.setattr(cv2, "imdecode", decode_slowly)
    monkeypatch.setattr(cv2, "resize", resize_and_note)
    load(tmp_path, *ramps(tmp_path, 32))
    assert len(numbers) == 32
    assert max(numbers) == 2


def test_a_folder_that_fails_while_it_is_read_is_told_as_that(tmp_path, monkeypatch):
    """As one that is mounted from elsewhere may."""

    def fail(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(np, "fromfile", fail)
    with pytest.raises(UserError, match=r"row 1: 0\.png: cannot be read: Input/output error$"):
        load(tmp_path, *ramps(tmp_path, 1))


def test_lack_of_memory_is_not_told_as_a_bad_image(tmp_path, monkeypatch):
    error = cv2.error("OpenCV(5.0.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to …")
    error.code = cv2.Error.StsNoMem

    def decode(*_):
        raise error

    monkeypatch.setattr(cv2, "imdecode", decode)
    with pytest.raises(cv2.error, match="Insufficient memory"):
        load(tmp_path, *ramps(tmp_path, 1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            encoded(".png", two_tones(30, 40, (1, 2, 3), (1, 2, 3))),
            "every pixel has the same value",
        ),
        (encoded(".tiff", RAMP.astype(np.float32) / 255), "float32, neither 8- nor 16-bit"),
        (encoded(".png", NOISE)[:-100], "truncated"),
        (encoded(".jpg", NOISE)[:-100], "truncated"),
        (encoded(".tiff", NOISE)[:-100], "truncated"),
        (encoded(".png", two_tones(2**13, 2**13 + 2, 9, 0)), "too large"),  # over 2**26 px
    ],
    ids=["one colour", "float", "PNG cut", "JPEG cut", "TIFF cut", "too large"],
)
def test_a_bad_image_is_refused(tmp_path, capfd, content, message):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=f"row 1: a.png: .*{message}"):
        load(tmp_path, "a.png")
    assert "ERROR" not in capfd.readouterr().err  # OpenCV's own line


def test_missing_and_broken_images_are_all_named(tmp_path):
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "x.png").touch()
    (tmp_path / "text.png").write_text("no image")
    messages = {
        "folder.png": "no such file, or it cannot be read",
        "pipe.png": "no such file, or it cannot be read",  # and is not waited for
        "loop.png": "no such file, or it cannot be read",
        "link.png": "no such file, or it cannot be read",
        "x.jpg": "no such file, or it cannot be read",
        r"C:\Users\me\images\x.png": "no such file, or it cannot be read",
        f"{'x' * 300}.png": "no such file, or it cannot be read",
        "text.png": "not an image, truncated, or too large",
        "x.png": "not an image, truncated, or too large",  # empty
    }
    with pytest.raises(UserError) as caught:
        load(tmp_path, *messages, *(f"{i}.png" for i in range(500)))
    assert str(caught.value).splitlines()[1 : len(messages) + 1] == [
        f"  row {row}: {name}: {message}" for row, (name, message) in enumerate(messages.items(), 1)
    ]


def test_a_batch_is_what_the_plain_way_makes(samples):
    """Decoding once and separable Gaussians give the values of the published way."""
    table = read_ground_truth(str(samples / "ground_truth.csv"))
    plain = PlainDataset(table, samples / "images")
    images, landmarks = load_images(table, str(samples / "images")).batch(slice(0, 6))
    heatmaps = gaussian_heatmaps(landmarks, (256, 256), sigma=10)
    for i in range(6):
        plain_image, plain_heatmaps = plain[i]
        assert torch.equal(images[i], plain_image)
        # Rounding decides on which side of the cut-off at 0.01 a value falls.
        close = torch.isclose(heatmaps[i], plain_heatmaps, atol=1e-5)
        assert (close | torch.isclose(heatmaps[i] + plain_heatmaps, torch.tensor(0.01))).all()
