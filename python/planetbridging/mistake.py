"""What cannot be as it was asked for."""


class Mistake(ValueError):
    """What a manifest asks for cannot be: said without a traceback."""
