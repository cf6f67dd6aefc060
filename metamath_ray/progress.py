"""What the jobs' lines of progress share."""


def show_duration(seconds: float) -> str:
    """A time that is left, as rough as it is known: `45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
