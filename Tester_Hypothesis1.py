"""Test Hypothesis 1, a plain U-Net, on the test images."""

from common.basics.arguments import tester_parser
from common.basics.errors import reports_errors
from common.models import UNet
from common.results.testing import run_test


@reports_errors()
def main(argv=None):
    # The limit was chosen on validation images (ReadMe_Complete.txt, CONFIDENCE AND
    # THE REVIEW FLAG).
    parser = tester_parser(__doc__, hypothesis=1, review_confidence=0.3)
    run_test(UNet, parser.parse_args(argv))


if __name__ == "__main__":
    main()
