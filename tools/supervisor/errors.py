"""The two ways in which a command ends early."""


class Failure(Exception):
    """Something outside this program is wrong. The text is one sentence: what happened, where, what to do."""


class Interrupted(Failure):
    """A signal (or `millrace stop`) ended a start before it was complete."""
