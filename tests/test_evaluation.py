import numpy as np
import torch

from common.dataset import LandmarkImages
from common.evaluation import band_counts, error_summary, pixel_errors, predict


def test_pixel_error_is_the_euclidean_distance():
    true = torch.tensor([[[0.0, 0.0], [10.0, 10.0], [5.0, 5.0], [1.0, 2.0]]])
    predicted = torch.tensor([[[3.0, 4.0], [10.0, 10.0], [0.0, 17.0], [2.0, 2.0]]])
    assert pixel_errors(predicted, true).tolist() == [[5, 0, 13, 1]]


def test_bands_are_closed_above():
    errors = np.array([0, 10, 10.01, 20, 20.01, 50, 50.01, 300])
    assert band_counts(errors).tolist() == [2, 2, 2, 2]
    assert band_counts(np.array([[1.0]])).tolist() == [1, 0, 0, 0]


def test_summary_of_known_errors():
    # Two images: 1, 3, 5, 7 and 11, 13, 15, 105. Mean 20, median 9; images 4 and 36 on average.
    text = error_summary(np.array([[1.0, 3, 5, 7], [11, 13, 15, 105]]))
    words = " ".join(text.split())
    # population standard deviation, 95th percentile by linear interpolation, by hand
    for expected in (
        "8 landmarks on 2 images",
        "Mean ± std 20.00 ± 32.45",
        "Median 9.00",
        "Min 1.00",
        "Max 105.00",
        "95th percentile 73.50",
        "OFD-1 6.00 6.00",
        "BPD-2 56.00 56.00",
        "Excellent (≤10 px) 4 ( 50.0%) 1 ( 50.0%)",
        "Good (10-20 px) 3 ( 37.5%) 0 ( 0.0%)",
        "Poor (20-50 px) 0 ( 0.0%) 1 ( 50.0%)",
        "Failure (>50 px) 1 ( 12.5%) 0 ( 0.0%)",
    ):
        assert expected in words, text


def test_predictions_come_in_the_order_of_the_images():
    class Brightest(torch.nn.Module):
        def forward(self, images):
            return images[:, :1].expand(-1, 4, -1, -1)

    images = torch.zeros(5, 1, 256, 256, dtype=torch.uint8)
    for i in range(5):
        images[i, 0, 10 * i, 7 * i + 1] = 255
    data = LandmarkImages(list("abcde"), images, torch.zeros(5, 4, 2))
    predicted = predict(Brightest(), data, batch_size=2)
    assert predicted[:, 0].tolist() == [[1, 0], [8, 10], [15, 20], [22, 30], [29, 40]]
