"""What the six scripts of the three hypotheses share."""


class UserError(Exception):
    """Something that the user can mend: a file, a row, an argument, a full disk.

    Its message is written for that user: which file, which row, what is wrong, what to do.
    The scripts print it without a traceback and end with exit status 2
    (`common.cli.reports_errors`).
    """
