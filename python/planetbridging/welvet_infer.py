"""The original bridge's name of `planetbridging.reload`."""

from .reload import (
    WELVET_RELOAD_BEDROCKS,
    WELVET_RELOAD_SKIP,
    import_welvet,
    infer_bedrock_entity,
    infer_dense_entity,
    infer_mixer_v1_entity,
    print_compare_ladder,
    try_infer_bedrock_entity,
)

__all__ = [
    "WELVET_RELOAD_BEDROCKS", "WELVET_RELOAD_SKIP", "import_welvet", "infer_bedrock_entity", "infer_dense_entity",
    "infer_mixer_v1_entity", "print_compare_ladder", "try_infer_bedrock_entity",
]
