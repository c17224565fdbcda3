"""Modules that take and return tensors, one concept a file."""

from segblocks.nn.attention import MultiheadAttention
from segblocks.nn.backbone import TimmBackbone
from segblocks.nn.class_queries import ClassQueries
from segblocks.nn.clip_output import ClipOutput, Prediction, mask_logits
from segblocks.nn.decoder import (
    Decoder,
    DecoderContext,
    DecoderOutput,
    DecoderStep,
    Level,
    Memory,
)
from segblocks.nn.decoder_steps import (
    FeedForward,
    MaskedCrossAttention,
    MemoryCrossAttention,
    Predict,
    SelfAttention,
)
from segblocks.nn.deformable_attention import (
    DeformableAttention,
    DeformableEncoderLayer,
)
from segblocks.nn.grid_queries import GridQueries
from segblocks.nn.heads import (
    ClassHead,
    ClassLogits,
    GroupMaskEmbedding,
    LinearClassHead,
    MaskEmbedding,
    MaskHead,
    QueryClassHead,
)
from segblocks.nn.hint_queries import HintQueries
from segblocks.nn.language_to_image import LanguageToImageAttention
from segblocks.nn.mlp import FeedForwardBlock, mlp
from segblocks.nn.object_encoder import EncodedObjects, ObjectEncoder
from segblocks.nn.position import sine_code, sine_position_2d, sine_position_3d, sine_position_at
from segblocks.nn.predict_as import PredictAs
from segblocks.nn.predict_by_text import CosineClassHead, GroundedMaskEmbedding, PredictByText
from segblocks.nn.prompt_attention import PromptCrossAttention, SeparatedSelfAttention
from segblocks.nn.queries import Queries, concatenate_queries
from segblocks.nn.shape_position import (
    ShapePosition,
    ShapePositionDescriptor,
    descriptor_change,
)
from segblocks.nn.shape_position_injection import ConfidentThings, ShapePositionInjection
from segblocks.nn.taxonomy import CompiledTaxonomy, TaxonomyCompiler
from segblocks.nn.taxonomy_injection import TaxonomyInjection
from segblocks.nn.temporal_attention import TemporalAttentionLayer
from segblocks.nn.temporal_neck import TemporalNeck
from segblocks.nn.visual_sampler import SeededPermutation, VisualSampler, VisualTokens

__all__ = [
    "ClassHead",
    "ClassLogits",
    "ClassQueries",
    "ClipOutput",
    "CompiledTaxonomy",
    "ConfidentThings",
    "CosineClassHead",
    "Decoder",
    "DecoderContext",
    "DecoderOutput",
    "DecoderStep",
    "DeformableAttention",
    "DeformableEncoderLayer",
    "EncodedObjects",
    "FeedForward",
    "FeedForwardBlock",
    "GridQueries",
    "GroundedMaskEmbedding",
    "GroupMaskEmbedding",
    "HintQueries",
    "LanguageToImageAttention",
    "Level",
    "LinearClassHead",
    "MaskEmbedding",
    "MaskHead",
    "MaskedCrossAttention",
    "Memory",
    "MemoryCrossAttention",
    "MultiheadAttention",
    "ObjectEncoder",
    "Predict",
    "PredictAs",
    "PredictByText",
    "Prediction",
    "PromptCrossAttention",
    "Queries",
    "QueryClassHead",
    "SeededPermutation",
    "SelfAttention",
    "SeparatedSelfAttention",
    "ShapePosition",
    "ShapePositionDescriptor",
    "ShapePositionInjection",
    "TaxonomyCompiler",
    "TaxonomyInjection",
    "TemporalAttentionLayer",
    "TemporalNeck",
    "TimmBackbone",
    "VisualSampler",
    "VisualTokens",
    "concatenate_queries",
    "descriptor_change",
    "mask_logits",
    "mlp",
    "sine_code",
    "sine_position_2d",
    "sine_position_3d",
    "sine_position_at",
]
