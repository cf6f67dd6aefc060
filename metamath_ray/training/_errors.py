"""What ends a training."""


class TrainingFailedError(RuntimeError):
    """Training ended before its last step; the text is the reason in one line. Run the same command to go on."""


class CannotGoOnError(ValueError):
    """The run must be started otherwise, trying again changes nothing; the text says why and what to do."""


class CannotResumeError(CannotGoOnError):
    """The checkpoint doesn't fit this run; the text says why and what to do."""
