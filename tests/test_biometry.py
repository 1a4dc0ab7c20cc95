import math

import numpy as np
import pandas as pd
import pytest

from common.biometry import (
    audit_annotations,
    audit_line,
    diameters,
    images_of_training_subjects,
    normalised_errors,
)
from common.dataset import COLUMNS


def ellipse(long=100.0, short=80.0, turn=30.0, center=(300, 200), angle=90.0, apart=(0, 0)):
    """The ends of two diameters of these lengths: [4, 2]. BPD's midpoint lies `apart`."""
    first, second = math.radians(turn), math.radians(turn + angle)
    ofd = long / 2 * np.array([math.cos(first), math.sin(first)])
    bpd = short / 2 * np.array([math.cos(second), math.sin(second)])
    center, other = np.array(center), np.array(center) + apart
    return np.array([center - ofd, center + ofd, other - bpd, other + bpd])


def table_of(*landmarks, names=None):
    names = names or [f"{i:03d}_HC.png" for i in range(len(landmarks))]
    return pd.DataFrame(
        [[name, *np.ravel(row)] for name, row in zip(names, landmarks)], columns=list(COLUMNS)
    )


def test_diameters_of_an_ellipse_are_its_axes():
    lengths = diameters(np.array([ellipse(100, 80), ellipse(250, 190, turn=-77)]))
    assert lengths == pytest.approx(np.array([[100, 80], [250, 190]]))


def test_audit_of_an_ellipse():
    audit = audit_annotations(table_of(ellipse(100, 80, turn=17))).iloc[0]
    assert audit["angle"] == pytest.approx(90)
    assert audit["midpoint_distance"] == pytest.approx(0, abs=1e-12)
    assert audit["ratio"] == pytest.approx(0.8)
    assert (audit["ofd_px"], audit["bpd_px"]) == (pytest.approx(100), pytest.approx(80))
    assert audit["plausible"]


@pytest.mark.parametrize(
    ("options", "plausible"),
    [
        ({"angle": 70.1}, True),
        ({"angle": 69.9}, False),
        ({"angle": 109.9}, True),  # the acute angle is 70.1
        ({"angle": 110.1}, False),
        ({"angle": 270}, True),  # BPD-1 and BPD-2 exchanged
        ({"apart": (11.9, 16)}, True),  # 19.94 of 100
        ({"apart": (12.1, 16)}, False),  # 20.06 of 100
        ({"short": 60.1}, True),
        ({"short": 59.9}, False),
        ({"long": 80, "short": 100}, True),  # the one called OFD is the shorter one
        ({"long": 80, "short": 133}, True),
        ({"long": 80, "short": 134}, False),
    ],
)
def test_limits_of_plausibility(options, plausible):
    assert audit_annotations(table_of(ellipse(**options)))["plausible"].tolist() == [plausible]


@pytest.mark.parametrize("options", [{"short": 0}, {"long": 0}, {"long": 0, "short": 0}])
def test_a_diameter_of_no_length_is_not_plausible(options):
    audit = audit_annotations(table_of(ellipse(**options)))
    assert audit["plausible"].tolist() == [False]
    assert audit["angle"].isna().all()


def test_measures_keep_the_index_of_the_table():
    table = table_of(ellipse(), ellipse(short=10), ellipse()).iloc[[2, 1]]
    assert audit_annotations(table)["plausible"].to_dict() == {2: True, 1: False}


def test_normalised_error():
    true = np.array([ellipse(100, 50, turn=0)])
    shifted = true + np.array([3, 4])  # both ends of both diameters by 5 px
    assert normalised_errors(shifted, true) == pytest.approx(np.array([[0.05, 0.10]]))
    exchanged = true[:, [1, 0, 3, 2]]
    assert normalised_errors(exchanged, true) == pytest.approx(np.zeros((1, 2)))
    one_end = true.copy()
    one_end[0, 1] += [0, 12]  # OFD-2 alone: 6 px on average
    assert normalised_errors(one_end, true) == pytest.approx(np.array([[0.06, 0]]))
    # Each diameter is paired by itself: OFD as it is, BPD exchanged.
    half = shifted[:, [0, 1, 3, 2]]
    assert normalised_errors(half, true) == pytest.approx(np.array([[0.05, 0.10]]))


def test_normalised_error_of_no_length_is_unknown():
    true = np.array([ellipse(short=0)])
    error = normalised_errors(true + 1, true)[0]
    assert error[0] == pytest.approx(math.sqrt(2) / 100)
    assert math.isnan(error[1])


def test_audit_line():
    names = ["001_HC.png", "002_HC.png", "001_2HC.png", "003_HC.png", "002_3HC.png", "004_HC.png"]
    rows = [ellipse(), ellipse(80, 100), ellipse(angle=20), ellipse(), ellipse(short=20), ellipse()]
    table = table_of(*rows, names=names)
    parts = {"train": table.iloc[:2], "val": table.iloc[2:4], "test": table.iloc[4:]}
    seen = images_of_training_subjects(parts)
    assert {name: part.tolist() for name, part in seen.items()} == {
        "val": [True, False],
        "test": [True, False],
    }
    assert audit_line(parts) == (
        "Audit: 4 of 6 annotations plausible, 1 of 2 in test; OFD shorter than BPD in 1; "
        "subjects of training in 1 of 2 val and 1 of 2 test images"
    )
    assert audit_line({"all": table}) == (
        "Audit: 4 of 6 annotations plausible; OFD shorter than BPD in 1"
    )
    parts["train"] = parts["train"].replace("001_HC.png", "head.png")
    assert images_of_training_subjects(parts) == {}
