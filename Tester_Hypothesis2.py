"""Test Hypothesis 2, the U-Net that was trained with augmentation, on the test images."""

from common import cli
from common.models import UNet


@cli.reports_errors
def main(argv=None):
    parser = cli.tester_parser(
        __doc__,
        pred_save_path="hypothesis_2_predictions_visualization.png",
        error_save_path="hypothesis_2_error_distribution.png",
    )
    cli.run_tester(parser.parse_args(argv), UNet)


if __name__ == "__main__":
    main()
