"""SAM 3 in any size, from the ``sam3`` package's own classes.

The package's builder knows one size, the published 840 million parameters at 1008 pixels. Here
the same classes are put together from a :class:`ModelSpec`, so that a tiny model for the CPU and
the published one differ in numbers only and share their module names.

Conventions
-----------
Images are ``(B, 1, R, R)`` bytes, or ``(B, 3, R, R)`` floats, normalised by mean 0.5 and deviation
0.5. The vision transformer's grid has ``R / patch_px`` cells a side; masks come out at four times
that grid.

References
----------
Carion et al., SAM 3: Segment Anything with Concepts, arXiv 2511.16719.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import resources
from typing import Any

import torch
from sam3.model.decoder import TransformerDecoder, TransformerDecoderLayer
from sam3.model.encoder import TransformerEncoderFusion, TransformerEncoderLayer
from sam3.model.geometry_encoders import SequenceGeometryEncoder
from sam3.model.maskformer_segmentation import PixelDecoder, UniversalSegmentationHead
from sam3.model.model_misc import (
    MLP,
    DotProductScoring,
    MultiheadAttentionWrapper,
    TransformerWrapper,
)
from sam3.model.necks import Sam3DualViTDetNeck
from sam3.model.position_encoding import PositionEmbeddingSine
from sam3.model.sam3_image import Sam3Image
from sam3.model.text_encoder_ve import TextTransformer, VETextEncoder
from sam3.model.tokenizer_ve import SimpleTokenizer
from sam3.model.vitdet import DropPath
from sam3.model.vl_combiner import SAM3VLBackbone
from sam3.train.matcher import BinaryHungarianMatcherV2
from torch import nn
from torch.overrides import TorchFunctionMode

from sam3_angio.detector.grey import GreyViT
from sam3_angio.detector.low_rank import add_low_rank
from sam3_angio.detector.remembered import remember
from sam3_angio.detector.thrifty import ThriftySam3Image
from sam3_angio.errors import ConfigError, Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Every number that makes one SAM 3 differ from another.

    Attributes
    ----------
    resolution_px, patch_px : int
        Side of the input and of a vision token.
    vision_width, vision_depth, vision_heads, vision_mlp, window, global_blocks, tile, drop_path
        Vision transformer. Blocks attend within windows of `window` cells, those in
        `global_blocks` to the whole grid; absolute positions are a tile of `tile` cells a side,
        repeated.
    width, heads, feedforward, encoder_layers, decoder_layers, geometry_layers, queries, dropout
        Detector: the fusion encoder, the query decoder and the encoder of boxes and points.
    one_to_many : bool
        Whether training adds a second set of queries that may match several to one target.
    text_width, text_depth, text_heads, context_length
        Text encoder.
    recompute : bool
        Whether activations are computed again in the backward pass to save memory.
    """

    resolution_px: int
    patch_px: int
    vision_width: int
    vision_depth: int
    vision_heads: int
    vision_mlp: float
    window: int
    global_blocks: tuple[int, ...]
    tile: int
    drop_path: float
    width: int
    heads: int
    feedforward: int
    encoder_layers: int
    decoder_layers: int
    geometry_layers: int
    queries: int
    dropout: float
    one_to_many: bool
    text_width: int
    text_depth: int
    text_heads: int
    context_length: int
    recompute: bool

    @property
    def grid(self) -> int:
        """Cells a side of the vision transformer."""
        return self.resolution_px // self.patch_px

    @property
    def mask_px(self) -> int:
        """Side of the mask logits."""
        return 4 * self.grid


PUBLISHED = ModelSpec(
    resolution_px=1008,
    patch_px=14,
    vision_width=1024,
    vision_depth=32,
    vision_heads=16,
    vision_mlp=4.625,
    window=24,
    global_blocks=(7, 15, 23, 31),
    tile=24,
    drop_path=0.1,
    width=256,
    heads=8,
    feedforward=2048,
    encoder_layers=6,
    decoder_layers=6,
    geometry_layers=3,
    queries=200,
    dropout=0.1,
    one_to_many=True,
    text_width=1024,
    text_depth=24,
    text_heads=16,
    context_length=32,
    recompute=True,
)

TINY = ModelSpec(
    resolution_px=256,
    patch_px=8,
    vision_width=128,
    vision_depth=4,
    vision_heads=4,
    vision_mlp=3.0,
    window=8,
    global_blocks=(3,),
    tile=8,
    drop_path=0.0,
    width=48,
    heads=2,
    feedforward=96,
    encoder_layers=2,
    decoder_layers=2,
    geometry_layers=1,
    queries=8,
    dropout=0.0,
    one_to_many=False,
    text_width=64,
    text_depth=2,
    text_heads=2,
    context_length=32,
    recompute=False,
)

SIZES = {"tiny": TINY, "published": PUBLISHED}

_VISION = "backbone.vision_backbone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparing:
    """How training a model of one size takes less memory or time.

    Attributes
    ----------
    recompute : bool
        Whether activations are computed again in the backward pass.
    compile : bool
        Whether the vision transformer's blocks are compiled.
    lora_rank : int
        Rank of what a vision backbone learns that is not frozen; at 0 it learns all of itself.
    lora_targets : sequence of str
        Layers of its blocks that learn.
    """

    recompute: bool
    compile: bool
    lora_rank: int
    lora_targets: Sequence[str]


def model_spec(size: str, resolution_px: int) -> ModelSpec:
    """Return the numbers of a named size at a resolution.

    Raises
    ------
    ConfigError
        The resolution does not fit the size.
    """
    base = SIZES[size]
    values = {field.name: getattr(base, field.name) for field in fields(base)}
    spec = ModelSpec(**{**values, "resolution_px": resolution_px})
    faults = _spec_faults(spec)
    if faults:
        raise ConfigError("The model cannot be built:", faults)
    return spec


def _spec_faults(spec: ModelSpec) -> list[Fault]:
    checks = {
        "resolution": (
            spec.resolution_px % spec.patch_px == 0 and spec.grid > 0,
            f"{spec.resolution_px} is not a multiple of the patch of {spec.patch_px} pixels.",
        ),
        "width": (
            spec.width % 8 == 0 and spec.width % spec.heads == 0,
            f"{spec.width} must be divisible by 8 and by {spec.heads} heads.",
        ),
        "vision_width": (
            spec.vision_width % (4 * spec.vision_heads) == 0,
            f"{spec.vision_width} must give each of {spec.vision_heads} heads a multiple of 4.",
        ),
        "global_blocks": (
            spec.global_blocks[-1] == spec.vision_depth - 1,
            "the last block must attend to the whole grid.",
        ),
    }
    return [
        Fault(file="params.yaml", field=f"model.{name}", message=message)
        for name, (holds, message) in checks.items()
        if not holds
    ]


def build_model(spec: ModelSpec, kind: type[Sam3Image] = ThriftySam3Image) -> Sam3Image:
    """Build a SAM 3 with random weights, with the matcher that training needs.

    Within :class:`NoMemory` nothing is allocated, for counting parameters.

    Parameters
    ----------
    spec : ModelSpec
    kind : type
        ``Sam3Image``, or a subclass that is made of the same parts and computes the same.
    """
    model = kind(
        backbone=SAM3VLBackbone(visual=_vision(spec), text=_text(spec), scalp=1),
        transformer=TransformerWrapper(
            encoder=_encoder(spec), decoder=_decoder(spec), d_model=spec.width
        ),
        input_geometry_encoder=_geometry(spec),
        segmentation_head=_segmentation(spec),
        num_feature_levels=1,
        o2m_mask_predict=True,
        dot_prod_scoring=_scoring(spec),
        use_act_checkpoint_seg_head=spec.recompute,
        use_instance_query=False,
        multimask_output=True,
        matcher=BinaryHungarianMatcherV2(
            focal=True, cost_class=2.0, cost_bbox=5.0, cost_giou=2.0, alpha=0.25, gamma=2.0
        ),
    )
    _initialise_text(model.backbone.language_backbone.encoder)
    return model


def build(
    size: str,
    resolution_px: int,
    freeze: Sequence[str] = (),
    remember_mb: int = 0,
    sparing: Sparing | None = None,
) -> Sam3Image:
    """Build a named size with some parts frozen; what the packaged configuration calls.

    Parameters
    ----------
    size : {"tiny", "published"}
    resolution_px : int
    freeze : sequence of str
        Module names whose parameters are not trained.
    remember_mb : int
        What the vision transformer, if it is among them, may keep of what it saw, in 10⁶ bytes.
    sparing : Sparing or None
        None for what the size sets.
    """
    model = build_model(spared(model_spec(size, resolution_px), sparing))
    return ready_to_train(model, freeze, remember_mb, sparing)


def ready_to_train(
    model: Sam3Image, freeze: Sequence[str], remember_mb: int, sparing: Sparing | None
) -> Sam3Image:
    """Return a model made ready for training; see :func:`build`."""
    frozen(model, freeze)
    trunk = model.backbone.vision_backbone.trunk
    if sparing is not None and sparing.lora_rank and _VISION not in freeze:
        frozen(model, [_VISION])
        add_low_rank(trunk, sparing.lora_rank, sparing.lora_targets)
    if sparing is not None and sparing.compile:
        # Block by block: a kind of block is compiled once, however many there are.
        for block in trunk.blocks:
            block.compile()
    remember(trunk, remember_mb)
    return model


def spared(spec: ModelSpec, sparing: Sparing | None) -> ModelSpec:
    """Return the numbers of a model that is trained sparingly; None leaves them as they are."""
    return spec if sparing is None else replace(spec, recompute=sparing.recompute)


def frozen(model: Sam3Image, parts: Sequence[str]) -> Sam3Image:
    """Return a model some modules of which are not trained, and leave out nothing at random.

    Stochastic depth keeps weights from relying on each other; on weights that stay it is noise.
    """
    for name in parts:
        part = model.get_submodule(name).requires_grad_(False)
        for module in part.modules():
            if isinstance(module, DropPath):
                module.drop_prob = 0.0
    return model


class NoMemory(TorchFunctionMode):
    """Build a model's shapes without its numbers: a context in which tensors are on ``meta``.

    ``torch.device("meta")`` alone does not do, because the vision transformer reads its rates of
    stochastic depth back from a tensor made by ``linspace``.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run a function, its new tensors on ``meta``."""
        device = torch.device("cpu" if func is torch.linspace else "meta")
        with device:
            return func(*args, **(kwargs or {}))


def _positions(spec: ModelSpec) -> PositionEmbeddingSine:
    return PositionEmbeddingSine(num_pos_feats=spec.width, normalize=True)


def _attention(spec: ModelSpec, *, batch_first: bool) -> MultiheadAttentionWrapper:
    return MultiheadAttentionWrapper(
        num_heads=spec.heads, dropout=spec.dropout, embed_dim=spec.width, batch_first=batch_first
    )


def _vision(spec: ModelSpec) -> Sam3DualViTDetNeck:
    trunk = GreyViT(
        img_size=spec.resolution_px,
        pretrain_img_size=spec.tile * spec.patch_px,
        patch_size=spec.patch_px,
        embed_dim=spec.vision_width,
        depth=spec.vision_depth,
        num_heads=spec.vision_heads,
        mlp_ratio=spec.vision_mlp,
        drop_path_rate=spec.drop_path,
        global_att_blocks=spec.global_blocks,
        rel_pos_blocks=(),
        window_size=spec.window,
        use_rope=True,
        use_interp_rope=True,
        retain_cls_token=False,
        ln_pre=True,
        bias_patch_embed=False,
        use_act_checkpoint=spec.recompute,
    )
    return Sam3DualViTDetNeck(
        trunk=trunk,
        position_encoding=_positions(spec),
        d_model=spec.width,
        scale_factors=(4.0, 2.0, 1.0, 0.5),
    )


def _text(spec: ModelSpec) -> VETextEncoder:
    return PhraseEncoder(
        tokenizer=tokenizer(),
        d_model=spec.width,
        width=spec.text_width,
        heads=spec.text_heads,
        layers=spec.text_depth,
        context_length=spec.context_length,
        use_act_checkpoint=spec.recompute,
    )


@cache
def tokenizer() -> SimpleTokenizer:
    """Return CLIP's tokenizer; the vocabulary, which ``sam3`` lacks, is that of ``open_clip``."""
    vocabulary = resources.files("open_clip").joinpath("bpe_simple_vocab_16e6.txt.gz")
    with resources.as_file(vocabulary) as path:
        return SimpleTokenizer(bpe_path=str(path))


def _encoder(spec: ModelSpec) -> TransformerEncoderFusion:
    layer = TransformerEncoderLayer(
        activation="relu",
        d_model=spec.width,
        dim_feedforward=spec.feedforward,
        dropout=spec.dropout,
        pos_enc_at_attn=True,
        pos_enc_at_cross_attn_keys=False,
        pos_enc_at_cross_attn_queries=False,
        pre_norm=True,
        self_attention=_attention(spec, batch_first=True),
        cross_attention=_attention(spec, batch_first=True),
    )
    kind = TransformerEncoderFusion if spec.recompute else StoringEncoder
    return kind(
        layer=layer,
        num_layers=spec.encoder_layers,
        d_model=spec.width,
        num_feature_levels=1,
        use_act_checkpoint=True,
        add_pooled_text_to_img_feat=False,
        pool_text_with_mask=True,
    )


def _decoder(spec: ModelSpec) -> TransformerDecoder:
    layer = TransformerDecoderLayer(
        activation="relu",
        d_model=spec.width,
        dim_feedforward=spec.feedforward,
        dropout=spec.dropout,
        cross_attention=_attention(spec, batch_first=False),
        n_heads=spec.heads,
        use_text_cross_attention=True,
    )
    kind = TransformerDecoder if spec.recompute else StoringDecoder
    return kind(
        layer=layer,
        num_layers=spec.decoder_layers,
        num_queries=spec.queries,
        return_intermediate=True,
        box_refine=True,
        num_o2m_queries=0,
        dac=spec.one_to_many,
        boxRPB="log",
        d_model=spec.width,
        frozen=False,
        interaction_layer=None,
        dac_use_selfatt_ln=True,
        use_act_checkpoint=True,
        presence_token=True,
    )


def _scoring(spec: ModelSpec) -> DotProductScoring:
    prompt = MLP(
        input_dim=spec.width,
        hidden_dim=spec.feedforward,
        output_dim=spec.width,
        num_layers=2,
        dropout=spec.dropout,
        residual=True,
        out_norm=nn.LayerNorm(spec.width),
    )
    return DotProductScoring(d_model=spec.width, d_proj=spec.width, prompt_mlp=prompt)


def _segmentation(spec: ModelSpec) -> UniversalSegmentationHead:
    return UniversalSegmentationHead(
        hidden_dim=spec.width,
        upsampling_stages=3,
        act_ckpt=spec.recompute,
        cross_attend_prompt=MultiheadAttentionWrapper(
            num_heads=spec.heads, dropout=0.0, embed_dim=spec.width
        ),
        pixel_decoder=PixelDecoder(
            num_upsampling_stages=3, interpolation_mode="nearest", hidden_dim=spec.width
        ),
    )


def _geometry(spec: ModelSpec) -> SequenceGeometryEncoder:
    layer = TransformerEncoderLayer(
        activation="relu",
        d_model=spec.width,
        dim_feedforward=spec.feedforward,
        dropout=spec.dropout,
        pos_enc_at_attn=False,
        pos_enc_at_cross_attn_keys=True,
        pos_enc_at_cross_attn_queries=False,
        pre_norm=True,
        self_attention=_attention(spec, batch_first=False),
        cross_attention=_attention(spec, batch_first=False),
    )
    return SequenceGeometryEncoder(
        pos_enc=_positions(spec),
        encode_boxes_as_points=False,
        points_direct_project=True,
        points_pool=True,
        points_pos_enc=True,
        boxes_direct_project=True,
        boxes_pool=True,
        boxes_pos_enc=True,
        d_model=spec.width,
        num_layers=spec.geometry_layers,
        layer=layer,
        use_act_ckpt=spec.recompute,
        add_cls=True,
        add_post_encode_proj=True,
    )


def _initialise_text(encoder: TextTransformer) -> None:
    # The package leaves these to a checkpoint (``torch.empty``); values are those of CLIP.
    nn.init.normal_(encoder.token_embedding.weight, std=0.02)
    nn.init.normal_(encoder.positional_embedding, std=0.01)
    nn.init.normal_(encoder.text_projection, std=encoder.width**-0.5)


class StoringEncoder(TransformerEncoderFusion):  # type: ignore[misc]
    """The fusion encoder, keeping its activations for the backward pass.

    The package recomputes them whenever the module is in training mode, and asserts so; that mode
    changes nothing else in this container, so it alone is never entered. Its layers still are,
    which is what dropout looks at.
    """

    def train(self, mode: bool = True) -> StoringEncoder:
        """Set the mode of the layers only."""
        super().train(mode)
        self.training = False
        return self


class StoringDecoder(TransformerDecoder):  # type: ignore[misc]
    """The query decoder, keeping its activations; see :class:`StoringEncoder`."""

    def train(self, mode: bool = True) -> StoringDecoder:
        """Set the mode of the layers only."""
        super().train(mode)
        self.training = False
        return self


class PhraseEncoder(VETextEncoder):  # type: ignore[misc]
    """The text encoder, which encodes a phrase once while its transformer is frozen.

    The projection to the detector's width stays outside the store, so it can be trained.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._store: dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}
        self.register_load_state_dict_post_hook(lambda module, _: module._store.clear())

    def _apply(self, *args: Any, **kwargs: Any) -> PhraseEncoder:
        self._store.clear()  # the weights move to another device or type
        super()._apply(*args, **kwargs)
        return self

    def forward(
        self,
        text: Sequence[str],
        input_boxes: Sequence[torch.Tensor] | None = None,
        device: torch.device | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode phrases.

        Returns
        -------
        mask : (B, L) bool tensor
            True where there is no token.
        features : (L, B, width) tensor
        embeddings : (L, B, text_width) tensor
        """
        if any(weight.requires_grad for weight in self.encoder.parameters()):
            encoded: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = super().forward(
                text, input_boxes, device
            )
            return encoded
        for phrase in text:
            if phrase not in self._store:
                self._store[phrase] = self._encode(phrase, device)
        masks, tokens, embeddings = zip(*(self._store[phrase] for phrase in text), strict=True)
        features = self.resizer(torch.stack(tokens, dim=1))
        return torch.stack(masks), features, torch.stack(embeddings, dim=1)

    @torch.no_grad()
    def _encode(
        self, phrase: str, device: torch.device | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        tokens = self.tokenizer([phrase], context_length=self.context_length).to(device)
        # Kept for good, validation included: as precise as it is there.
        with torch.autocast(tokens.device.type, enabled=False):
            _, memory = self.encoder(tokens)
        return tokens[0] == 0, memory[0], self.encoder.token_embedding(tokens)[0]
