"""SAM 3 that is also told from where the heart is seen.

Three ways exist, called carriers. ``text`` says the view in words and needs no other model.
``embedding`` takes sine and cosine of both angles; ``exemplar`` takes a frame from a similar view
in which the segment is marked by a box, encoded by SAM 3's own encoder of geometric prompts, as it
encodes a box that a user draws. Both make one vector a query, which is **added to every token of
the prompt** (text and geometry), before the fusion encoder, the decoder, the scores and the mask
head look at it. The last projection is zero at first, so that an informed arm starts as the very
same function as one that is told nothing. A token of its own would not: even a token of zeros
takes its share of each softmax, and of the mean that scores are made of.

Conventions
-----------
The base's modules keep their names; all that is added is named ``view_…``. A batch carries the
view as a :class:`~sam3_angio.detector.view_batch.ViewStage`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from sam3.model.geometry_encoders import Prompt as GeometricPrompt
from sam3.model.sam3_image import Sam3Image
from torch import nn

from sam3_angio.detector.build import Sparing, build_model, model_spec, ready_to_train, spared
from sam3_angio.detector.thrifty import ThriftySam3Image
from sam3_angio.detector.view_batch import ViewStage

#: How a model gets to know the view.
Carrier = Literal["none", "text", "exemplar", "embedding"]

#: First letters of the weights that a model has beyond the base.
ADDED = "view_"

_PICTURES_AT_ONCE = 8


def build(
    size: str,
    resolution_px: int,
    carrier: Carrier,
    freeze: Sequence[str] = (),
    remember_mb: int = 0,
    sparing: Sparing | None = None,
) -> Sam3Image:
    """Build a named size for a carrier; what the packaged configuration calls.

    Parameters
    ----------
    size : {"tiny", "published"}
    resolution_px : int
    carrier : {"none", "text", "exemplar", "embedding"}
    freeze : sequence of str
        Module names whose parameters are not trained.
    remember_mb : int
        What the vision transformer, if it is among them, may keep of what it saw, in 10⁶ bytes.
    sparing : Sparing or None
        None for what the size sets.
    """
    kinds = {"embedding": AngleSam3Image, "exemplar": ExemplarSam3Image}
    kind = kinds.get(carrier, ThriftySam3Image)
    model = build_model(spared(model_spec(size, resolution_px), sparing), kind)
    return ready_to_train(model, freeze, remember_mb, sparing)


class _ViewSam3Image(ThriftySam3Image, ABC):
    """Adds a vector to the prompt's tokens."""

    @abstractmethod
    def view_of(self, stage: ViewStage) -> torch.Tensor:
        """Return what is known of the view, (queries, width)."""

    def _encode_prompt(
        self, backbone_out: Any, find_input: ViewStage, *args: Any, **options: Any
    ) -> tuple[torch.Tensor, torch.Tensor, Any]:
        tokens, mask, backbone_out = super()._encode_prompt(
            backbone_out, find_input, *args, **options
        )
        return tokens + self.view_of(find_input), mask, backbone_out


class AngleSam3Image(_ViewSam3Image):
    """SAM 3 that is told the angles as numbers."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.view_angle = nn.Sequential(
            nn.Linear(4, self.hidden_dim), nn.GELU(), zero_linear(self.hidden_dim)
        )

    def view_of(self, stage: ViewStage) -> torch.Tensor:
        """Return the projection of each query's angles, (queries, width)."""
        angles = torch.deg2rad(stage.angles_deg)
        view: torch.Tensor = self.view_angle(torch.cat([angles.sin(), angles.cos()], dim=-1))
        return view


class ExemplarSam3Image(_ViewSam3Image):
    """SAM 3 that is shown the segment in a frame from a similar view.

    The pictures pass the vision backbone without a gradient; the encoder of boxes is trained. In
    evaluation an exemplar is encoded once and then remembered, until the weights can change again.
    """

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.view_exemplar = zero_linear(self.hidden_dim)
        self._known: dict[int, torch.Tensor] = {}
        self.register_load_state_dict_post_hook(lambda module, _: module._known.clear())

    def train(self, mode: bool = True) -> ExemplarSam3Image:
        """Set the mode; forget the exemplars, which other weights would encode otherwise."""
        self._known.clear()
        super().train(mode)
        return self

    def view_of(self, stage: ViewStage) -> torch.Tensor:
        """Return the projection of each query's exemplar, (queries, width); zero without one."""
        ids = stage.exemplar_ids.tolist()
        places = {number: place for place, number in enumerate(ids) if number >= 0}
        order = {number: row for row, number in enumerate(places)}
        shown = self.view_exemplar(self._encoded(stage, places))
        nothing = shown.new_zeros(1, self.hidden_dim)
        return torch.cat([shown, nothing])[[order.get(number, -1) for number in ids]]

    def _encoded(self, stage: ViewStage, places: Mapping[int, int]) -> torch.Tensor:
        """Return an encoding of each exemplar, (exemplars, width), given a place of each."""
        if self.training:
            return self._encode(stage, list(places.values()))
        fresh = [number for number in places if number not in self._known]
        encoded = self._encode(stage, [places[number] for number in fresh]).detach()
        self._known.update(zip(fresh, encoded, strict=True))
        return torch.cat([encoded[:0], *(self._known[number][None] for number in places)])

    def _encode(self, stage: ViewStage, places: Sequence[int]) -> torch.Tensor:
        some = [places[k : k + _PICTURES_AT_ONCE] for k in range(0, len(places), _PICTURES_AT_ONCE)]
        nothing = self.view_exemplar.weight.new_zeros(0, self.hidden_dim)
        return torch.cat([nothing, *(self._encode_some(stage, part) for part in some)])

    def _encode_some(self, stage: ViewStage, places: Sequence[int]) -> torch.Tensor:
        values = stage.exemplar_pictures[places][:, None]
        count = len(values)
        with torch.no_grad():
            seen = self.backbone.forward_image(values)
        _, features, positions, sizes = self._get_img_feats(
            seen, torch.arange(count, device=values.device)
        )
        box = GeometricPrompt(
            box_embeddings=stage.exemplar_boxes[places][None],
            box_mask=torch.zeros(count, 1, dtype=torch.bool, device=values.device),
        )
        tokens, _ = self.geometry_encoder(
            geo_prompt=box, img_feats=features, img_sizes=sizes, img_pos_embeds=positions
        )
        encoded: torch.Tensor = tokens[0]  # the box; behind it is the encoder's own token
        return encoded


def zero_linear(width: int) -> nn.Linear:
    """Return a projection that gives zero until it is trained."""
    layer = nn.Linear(width, width)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
