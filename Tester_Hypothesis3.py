"""Test Hypothesis 3, the ResNet-34 U-Net with attention, on the test images."""

from common import cli, testing
from common.models import ResNetUNet


@cli.reports_errors()
def main(argv=None):
    # The limit was chosen on validation images (ReadMe_Complete.txt, CONFIDENCE AND
    # THE REVIEW FLAG).
    parser = cli.tester_parser(__doc__, hypothesis=3, review_confidence=0.7)
    testing.run(ResNetUNet, parser.parse_args(argv))


if __name__ == "__main__":
    main()
