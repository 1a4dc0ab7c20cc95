"""Test Hypothesis 1, a plain U-Net, on the test images."""

from common import cli
from common.models import UNet


@cli.reports_errors
def main(argv=None):
    parser = cli.tester_parser(
        __doc__,
        pred_save_path="hypothesis_1_predictions_visualization.png",
        error_save_path="hypothesis_1_error_distribution.png",
    )
    cli.run_tester(parser.parse_args(argv), UNet)


if __name__ == "__main__":
    main()
