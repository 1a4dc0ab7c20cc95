import struct
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image  # which matplotlib needs, so it is there

from common import UserError
from common.ground_truth import read_ground_truth
from common.heatmaps import gaussian_heatmaps
from common.images import load_images
from tests.benchmark import PlainDataset
from tests.conftest import table_of

LANDMARKS = [1, 2, 3, 4, 5, 6, 7, 8]
RAMP = np.tile(np.arange(256, dtype=np.uint8), (256, 1))


def load(folder, *names, landmarks=LANDMARKS):
    """Images with the same landmarks each."""
    return load_images(table_of(*[landmarks] * len(names), names=names), str(folder))


def two_tones(height, width, upper, lower):
    """The upper half of one value or colour, the lower half of another."""
    picture = np.zeros((height, width, *np.shape(upper)), np.uint8)
    picture[: height // 2], picture[height // 2 :] = upper, lower
    return picture


def test_images_are_rgb_in_0_to_1_and_landmarks_scale(tmp_path):
    # OpenCV writes BGR: this picture is pure red above and black below.
    cv2.imwrite(str(tmp_path / "a.png"), two_tones(100, 400, (0, 0, 255), (0, 0, 0)))
    data = load(tmp_path, "a.png", landmarks=[200, 25, 0, 0, 399, 99, 100, 50])
    images, landmarks = data.batch(slice(0, 1))
    assert images.shape == (1, 3, 256, 256)
    assert images.dtype == torch.float32
    assert images[0, :, 0, 0].tolist() == [1, 0, 0]
    assert images[0, :, 255, 255].tolist() == [0, 0, 0]
    assert data.sizes.tolist() == [[400, 100]]
    # x · 256/400 and y · 256/100, by hand
    expected = [[128, 64], [0, 0], [255.36, 253.44], [64, 128]]
    torch.testing.assert_close(landmarks[0], torch.tensor(expected), rtol=0, atol=1e-4)


def test_grey_images_are_kept_in_one_channel_in_the_tables_order(tmp_path):
    names = [f"{value}.png" for value in (200, 0, 51)]
    for width, name in enumerate(names, 40):
        cv2.imwrite(str(tmp_path / name), two_tones(30, width, int(name[:-4]), 255))
    data = load(tmp_path, *names)
    assert data.images.shape == (3, 1, 256, 256)
    assert data.images.dtype == torch.uint8
    images, _ = data.batch(torch.tensor([2, 0]))
    assert images.shape == (2, 3, 256, 256)
    assert images[:, :, 0, 0].flatten().tolist() == pytest.approx([0.2] * 3 + [200 / 255] * 3)
    assert data[1:].names == names[1:]
    assert data[1:].images[:, 0, 0, 0].tolist() == [0, 51]
    assert data[1:].sizes.tolist() == [[41, 30], [42, 30]]


def test_grey_and_coloured_images_can_be_mixed(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), two_tones(30, 40, 51, 0))
    cv2.imwrite(str(tmp_path / "blue.png"), two_tones(30, 40, (255, 0, 0), (0, 0, 0)))
    images, _ = load(tmp_path, "grey.png", "blue.png").batch(slice(0, 2))
    assert images[0, :, 7, 7].tolist() == pytest.approx([0.2, 0.2, 0.2])
    assert images[1, :, 7, 7].tolist() == [0, 0, 1]


def test_resizing_is_bilinear(tmp_path):
    # Halving a picture bilinearly averages 2×2 blocks: columns 0, 100, 0, 100, … become 50.
    picture = np.zeros((512, 512), np.uint8)
    picture[:, 1::2] = 100
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    assert (load(tmp_path, "a.png").images == 50).all()


def test_missing_broken_and_mismatched_images_are_all_named(tmp_path):
    cv2.imwrite(str(tmp_path / "small.png"), two_tones(6, 8, 0, 9))
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").touch()
    names = ["missing.png", "text.png", "empty.png", "small.png"]
    with pytest.raises(UserError) as caught:
        load(tmp_path, *names, landmarks=[1, 2, 3, 4, 5, 5, 8, 5])
    lines = str(caught.value).splitlines()
    assert "row 1: missing.png: no such image" in lines[1]
    assert "row 2: text.png: not an image" in lines[2]
    assert "row 3: empty.png: not an image" in lines[3]
    assert "row 4: small.png: BPD-2 (8, 5) lies outside the image of 8×6 px" in lines[4]
    assert len(lines) == 5


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_one_picture_in_any_depth_is_read_alike(tmp_path, ending):
    """8-bit grey, colour, alpha and 16-bit files of one picture."""
    variants = {"grey": RAMP, "colour": np.dstack([RAMP] * 3)}
    if ending == ".png":
        variants["alpha"] = np.dstack([RAMP] * 3 + [RAMP.T])
        variants["16-bit"] = RAMP.astype(np.uint16) * 257
        variants["16-bit colour"] = np.dstack([RAMP.astype(np.uint16) * 257] * 3)
    for name, picture in variants.items():
        cv2.imwrite(str(tmp_path / f"{name}{ending}"), picture, [cv2.IMWRITE_JPEG_QUALITY, 100])
    data = load(tmp_path, *(f"{name}{ending}" for name in variants))
    assert data.images.shape == (len(variants), 1, 256, 256)
    for image in data.images:
        assert np.abs(image[0].numpy().astype(int) - RAMP).max() <= (2 if ending == ".jpg" else 0)


@pytest.mark.parametrize(
    ("largest", "bits"),
    [(4095, 12), (4000, 12), (1000, 10), (1024, 11), (256, 9), (255, 8), (100, 8), (65535, 16)],
)
def test_16_bit_files_are_scaled_by_the_bits_that_they_use(tmp_path, capsys, largest, bits):
    """A 12-bit picture of DICOM in a 16-bit file keeps its brightness."""
    picture = np.linspace(0, largest, 256 * 256).round().astype(np.uint16).reshape(256, 256)
    cv2.imwrite(str(tmp_path / "deep.png"), picture)
    cv2.imwrite(str(tmp_path / "plain.png"), RAMP)
    data = load(tmp_path, "deep.png", "plain.png")
    expected = picture / (2**bits - 1) * 255
    assert np.abs(data.images[0, 0].numpy() - expected).max() <= 0.501
    assert (data.images[1, 0].numpy() == RAMP).all()
    line = f"1 images of {bits} to {bits} bits, each scaled to 8 on its own\n"
    assert capsys.readouterr().out == (line if bits > 8 else "")


def test_the_colours_of_a_16_bit_file_are_scaled_alike(tmp_path):
    red_and_blue = two_tones(30, 40, (0, 0, 1), (1, 0, 0)).astype(np.uint16) * [500, 0, 4095]
    cv2.imwrite(str(tmp_path / "a.png"), red_and_blue.astype(np.uint16))
    images = load(tmp_path, "a.png").images
    assert images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert images[0, :, 255, 0].tolist() == [0, 0, 31]  # 500 / 4095 · 255


@pytest.mark.parametrize(
    ("mode", "ending"),
    [
        *[("1", ".png"), ("L", ".png"), ("LA", ".png"), ("P", ".png"), ("RGBA", ".png")],
        *[("1", ".tiff"), ("L", ".tiff"), ("RGB", ".tiff"), ("L", ".jpg"), ("CMYK", ".jpg")],
        *[("RGB", ".webp"), ("RGBA", ".webp"), ("RGB", ".bmp")],
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


def test_names_may_be_odd(tmp_path):
    (tmp_path / "sub").mkdir()
    names = ["sub/a b.png", "Kopf (1) [ä].png", "100%.png", "*.png", "a'\"b.png", "a$_$b.png"]
    for value, name in enumerate(names):
        (tmp_path / name).write_bytes(cv2.imencode(".png", two_tones(30, 40, value, 99))[1])
    assert load(tmp_path, *names).images[:, 0, 0, 0].tolist() == list(range(len(names)))


@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tiff"])
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


def png(width, height, bits, rows):
    """A grey PNG of these rows of bytes, whose header may claim anything."""

    def chunk(kind, data):
        content = kind + data
        return struct.pack(">I", len(data)) + content + struct.pack(">I", zlib.crc32(content))

    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(b"\0" + row) for row in rows) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


NOISE = np.random.default_rng(0).integers(0, 256, (200, 300), dtype=np.uint8)


def encoded(ending, picture):
    return cv2.imencode(ending, picture)[1].tobytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encoded(".png", np.full((30, 40), 7, np.uint8)), "every pixel has the same value"),
        (encoded(".png", np.zeros((30, 40, 3), np.uint8)), "every pixel has the same value"),
        (encoded(".png", np.full((30, 40), 700, np.uint16)), "every pixel has the same value"),
        (encoded(".tiff", RAMP.astype(np.float32) / 255), "float32, neither 8- nor 16-bit"),
        (encoded(".png", NOISE)[:-100], "truncated"),
        (encoded(".jpg", NOISE)[:-100], "truncated"),
        (png(2**31 - 1, 2**31 - 1, 8, [b""]), "not an image, truncated, or too large"),
        (b"II+\0\x08\0\0\0", "a BigTIFF"),
    ],
    ids=[
        *("one grey", "one colour", "one of 16 bits", "float", "PNG cut", "JPEG cut", "2**31 px"),
        "BigTIFF",
    ],
)
def test_a_bad_image_is_refused(tmp_path, content, message):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=f"row 1: a.png: .*{message}"):
        load(tmp_path, "a.png")


def test_a_picture_of_a_gigabyte_in_a_small_file_is_refused(tmp_path):
    content = png(30_000, 30_000, 1, [b"\xaa" * 3750] * 30_000)  # with all of its pixels
    assert len(content) < 1e6
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=r"row 1: a\.png: .*too large"):
        load(tmp_path, "a.png")


def test_bytes_after_the_end_of_a_jpeg_are_no_matter(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encoded(".jpg", RAMP) + b"made by a scanner")
    assert len(load(tmp_path, "a.jpg")) == 1


def test_what_stands_in_place_of_an_image_is_named(tmp_path):
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "004_HC.PNG").touch()
    (tmp_path / "x.png").touch()  # which [x].* would match
    names = ["folder.png", "link.png", "sub/004_HC.png", "[x].png", f"{'x' * 300}.png"]
    with pytest.raises(UserError) as caught:
        load(tmp_path, *names)
    lines = str(caught.value).splitlines()[1:]
    for line, (name, message) in zip(
        lines,
        [
            ("folder.png", "a folder, not an image"),
            ("link.png", "a link to a file that does not exist"),
            ("sub/004_HC.png", "no such image; there is sub/004_HC.PNG, another ending"),
            ("[x].png", "no such image"),
            (names[-1], "no such image"),
        ],
    ):
        assert line.endswith(f"{name}: {message}")
    assert len(lines) == len(names)


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
