"""Bridges live models to Loom: streams their weights into `.entity` files and proves the match.

Arrays keep the planet's own layout; Rust relays them out from one table of conventions."""

from __future__ import annotations

from . import absorb, engines
from .bedrock_ladder import run_all_bedrock_ladders, run_bedrock_ladder
from .bedrock_smoke import run_all_bedrock_smokes, run_bedrock_smoke
from .bedrocks import BEDROCK_IDS, BEDROCK_PLANETS, BEDROCKS, PLANETS, STREAM_MODEL_IDS, BedrockInfo
from .compare import Comparison, compare_outputs, diff_label, judge
from .layers import DenseLayer, LayerSpec
from .reload import (
    WELVET_RELOAD_BEDROCKS,
    WELVET_RELOAD_SKIP,
    import_welvet,
    infer_bedrock_entity,
    infer_dense_entity,
    infer_mixer_v1_entity,
    load,
    print_compare_ladder,
    try_infer_bedrock_entity,
)
from .results import EngineStreamResult, LadderResult, SmokeResult, StreamResult
from .stream import (
    stream_bedrock,
    stream_cnn1,
    stream_cnn2,
    stream_cnn3,
    stream_dense,
    stream_embedding,
    stream_layernorm,
    stream_lstm,
    stream_mha,
    stream_mixer,
    stream_residual,
    stream_rmsnorm,
    stream_rnn,
    stream_swiglu,
)

__version__ = "0.1.0"

__all__ = [
    "BEDROCKS", "BEDROCK_IDS", "BEDROCK_PLANETS", "BedrockInfo", "Comparison", "DenseLayer", "EngineStreamResult", "LadderResult",
    "LayerSpec", "PLANETS", "STREAM_MODEL_IDS", "SmokeResult", "StreamResult", "WELVET_RELOAD_BEDROCKS",
    "WELVET_RELOAD_SKIP", "__version__", "absorb", "compare_outputs", "diff_label", "engines", "import_welvet",
    "infer_bedrock_entity", "infer_dense_entity", "infer_mixer_v1_entity", "judge", "load", "print_compare_ladder",
    "run_all_bedrock_ladders", "run_all_bedrock_smokes", "run_bedrock_ladder", "run_bedrock_smoke", "stream_bedrock",
    "stream_cnn1", "stream_cnn2", "stream_cnn3", "stream_dense", "stream_embedding", "stream_layernorm",
    "stream_lstm", "stream_mha", "stream_mixer", "stream_residual", "stream_rmsnorm", "stream_rnn", "stream_swiglu",
    "try_infer_bedrock_entity",
]
