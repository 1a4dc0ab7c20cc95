"""What the six scripts of the three hypotheses share."""


class InputError(ValueError):
    """Something that the user gave (a file, a row, an argument) cannot be used.

    Its message is written for that user: which file, which row, what is wrong, what to do.
    The scripts print it as one line and end with exit status 2 (`common.cli.reports_errors`).
    """
