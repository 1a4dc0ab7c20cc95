"""Test Hypothesis 1, a plain U-Net, on the test images."""

from common import cli, testing
from common.models import UNet


@cli.reports_errors()
def main(argv=None):
    # The limit was chosen on validation images (ReadMe_Complete.txt, CONFIDENCE AND
    # THE REVIEW FLAG).
    parser = cli.tester_parser(__doc__, hypothesis=1, review_confidence=0.3)
    testing.run(UNet, parser.parse_args(argv))


if __name__ == "__main__":
    main()
