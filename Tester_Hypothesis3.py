"""Test Hypothesis 3, the ResNet-34 U-Net with attention, on the test images."""

from common import cli
from common.models import ResNetUNet


@cli.reports_errors
def main(argv=None):
    parser = cli.tester_parser(
        __doc__,
        pred_save_path="hypothesis_3_predictions_visualization.png",
        error_save_path="hypothesis_3_error_distribution.png",
    )
    cli.run_tester(parser.parse_args(argv), ResNetUNet)


if __name__ == "__main__":
    main()
