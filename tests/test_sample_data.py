"""The synthetic heads that stand in for real data."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from common import sample_data
from tests.conftest import files_in, refused


def test_sample_data_have_the_format_and_the_order_of_ends_of_the_report_s(samples):
    table = pd.read_csv(samples / "ground_truth.csv")
    assert table["image_name"].tolist() == [f"{i:03d}_HC.png" for i in range(6)]
    assert (table["ofd_1_y"] < table["ofd_2_y"]).all()  # OFD-1 is the upper end
    assert (table["bpd_1_x"] < table["bpd_2_x"]).all()  # BPD-1 is the left end
    for name in table["image_name"]:
        image = cv2.imread(str(samples / "images" / name), cv2.IMREAD_UNCHANGED)
        assert image.shape == (540, 800)
        assert image.dtype == np.uint8


def test_the_two_diameters_are_the_axes_of_one_ellipse_and_the_upright_ends_are_bright():
    for seed in range(5):
        image, landmarks = sample_data.synthetic_head(np.random.default_rng(seed))
        ofd_1, ofd_2, bpd_1, bpd_2 = landmarks
        np.testing.assert_allclose(ofd_1 + ofd_2, bpd_1 + bpd_2)  # one centre
        assert abs(np.dot(ofd_2 - ofd_1, bpd_2 - bpd_1)) < 1e-6  # at right angles
        assert (landmarks >= 0).all()
        assert (landmarks < [800, 540]).all()
        # They face the beam, so the echo is strongest there: brighter than the picture around it.
        for x, y in landmarks[:2].round().astype(int):
            patch = image[max(y - 4, 0) : y + 5, x - 4 : x + 5]
            assert patch.mean() > 1.5 * image.mean()


def test_the_same_seed_gives_the_same_files(samples, tmp_path):
    sample_data.main(["--output_dir", str(tmp_path), "--images", "2"])
    for name in ("000_HC.png", "001_HC.png"):
        assert (tmp_path / "images" / name).read_bytes() == (samples / "images" / name).read_bytes()
    other = tmp_path / "other"
    sample_data.main(["--output_dir", str(other), "--images", "1", "--seed", "43"])
    name = Path("images") / "000_HC.png"
    assert (other / name).read_bytes() != (samples / name).read_bytes()


def test_another_data_set_is_never_overwritten(tmp_path, capsys):
    arguments = ["--output_dir", str(tmp_path), "--images", "2"]
    (tmp_path / "images").mkdir()
    for name in ("ground_truth.csv", "images/001_HC.png"):
        (tmp_path / name).write_text("real data")
        before, message = files_in(tmp_path), f"{tmp_path / name}: another data set is there"
        refused(lambda: sample_data.main(arguments), capsys, message)
        assert files_in(tmp_path) == before
        (tmp_path / name).unlink()
    for _ in range(2):  # the same command a second time is no harm
        sample_data.main(arguments)
    assert len(files_in(tmp_path)) == 3


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, capsys):
    (tmp_path / "file").touch()
    arguments = ["--output_dir", str(tmp_path / "file"), "--images", "1"]
    message = f"{tmp_path / 'file'}: cannot be used: "
    refused(lambda: sample_data.main(arguments), capsys, message)


def test_it_says_how_many_images_are_where(tmp_path, capsys):
    sample_data.main(["--output_dir", str(tmp_path / "new" / "samples"), "--images", "1"])
    expected = f"1 images and ground_truth.csv are in {tmp_path / 'new' / 'samples'}\n"
    assert capsys.readouterr().out == expected
    assert len(files_in(tmp_path / "new" / "samples")) == 2
