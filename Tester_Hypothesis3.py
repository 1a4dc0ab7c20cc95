"""Test Hypothesis 3, the ResNet-34 U-Net with attention, on the test images."""

from common.basics.arguments import tester_parser
from common.basics.errors import reports_errors
from common.models import ResNetUNet
from common.results.testing import run_test


@reports_errors()
def main(argv=None):
    # The limit was chosen on validation images (ReadMe_Complete.txt, CONFIDENCE AND
    # THE REVIEW FLAG).
    parser = tester_parser(__doc__, hypothesis=3, review_confidence=0.7)
    run_test(ResNetUNet, parser.parse_args(argv))


if __name__ == "__main__":
    main()
