"""What an error of ours is: one whose message, a line that names the mend, is the whole story for a user."""

from reports.escape import printable

PACKAGES = ("dvbench", "models", "reports", "tasks")


def is_ours(error: Exception) -> bool:
    """Whether an error's class is one of ours, or TorchGeo's own word for a dataset that is not there."""
    return type(error).__module__.partition(".")[0] in PACKAGES or type(error).__name__ == "DatasetNotFoundError"


def one_line(error: Exception) -> str:
    """Return an error as the first line of its message, with its kind where that is not ours."""
    text = (str(error).splitlines() or [""])[0]
    return printable(text if is_ours(error) and text else f"{type(error).__name__}: {text}")
