"""Test Hypothesis 3, the ResNet-34 U-Net with attention, on the test images."""

from common import cli, testing
from common.models import ResNetUNet


@cli.reports_errors()
def main(argv=None):
    args = cli.tester_parser(__doc__, hypothesis=3).parse_args(argv)
    # The limit was chosen on validation images (ReadMe_Complete.txt, section 11).
    testing.run(ResNetUNet, args, review_confidence=0.7)


if __name__ == "__main__":
    main()
