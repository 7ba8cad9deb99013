"""What a training step takes of the memory besides weights, gradients and the optimiser's state.

An estimate: a number of bytes a frame and another one a phrase, in proportion to the number of
pixels, and with ``bfloat16`` two bytes more for each trained weight, which autocast copies.

Conventions
-----------
Measured on a GPU is the published model at 1008 px with ``bfloat16`` and activations computed
again: five ways to train, of one or two frames with one phrase each (``benchmarks/training.py`` on
an H200, see ``docs/how-to/real-model.md``). 1.8 · 10⁹ bytes a frame meet them within 0.12 · 10⁹.

The rest is extrapolated. How that number is shared between frame and phrase, and what activations
take that are kept, comes from the memory of a process without a GPU: the published detector at 336
and 504 px behind two or four blocks of its vision transformer, in ``float32``, and at 336 px the
part of it that ``bfloat16`` takes. A frozen backbone is counted without what its blocks keep. The
tiny model was measured the same way, at 256 and 512 px in ``float32``, with up to four frames and
three phrases each; it is met within 3 · 10⁶ bytes a frame, and phrases that are not there, which
get no masks, take a third of what is said.

Not counted are exemplars (Phase 3) and answers between epochs, which need no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_COPY_BYTES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What passes a model at once.

    Attributes
    ----------
    size : {"tiny", "published"}
    side_px : int
        Of what the model sees.
    frames : int
        Of a worker's step, or of a part of it.
    queries : int
        Phrases a frame.
    precision : {"float32", "bfloat16"}
    recompute : bool
        Whether activations are computed again in the backward pass.
    learns_to_see : bool
        Whether gradients pass the vision backbone.
    """

    size: Literal["tiny", "published"]
    side_px: int
    frames: int
    queries: int
    precision: Literal["float32", "bfloat16"]
    recompute: bool
    learns_to_see: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost:
    """Bytes in ``float32`` of a frame that is learnt to be seen, or only seen, and of a phrase."""

    learnt: float
    seen: float
    query: float


#: At these sides; by whether activations are computed again.
_SIDE_PX = {"tiny": 256, "published": 1008}
_COSTS = {
    ("published", True): _Cost(learnt=1.9e9, seen=0.7e9, query=1.2e9),
    ("published", False): _Cost(learnt=13.8e9, seen=0.8e9, query=7.0e9),
    ("tiny", True): _Cost(learnt=28e6, seen=10e6, query=18e6),
    ("tiny", False): _Cost(learnt=55e6, seen=10e6, query=35e6),
}
#: The part of that in ``bfloat16``, by whether activations are computed again.
_SMALL = {True: 0.58, False: 0.73}


def activation_bytes(step: Step, trained: int) -> int:
    """Return what a step takes besides weights, gradients and the optimiser's state.

    Parameters
    ----------
    step : Step
    trained : int
        Numbers of the model that are trained.

    Examples
    --------
    >>> pair = Step(
    ...     size="published",
    ...     side_px=1008,
    ...     frames=2,
    ...     queries=1,
    ...     precision="bfloat16",
    ...     recompute=True,
    ...     learns_to_see=True,
    ... )
    >>> activation_bytes(pair, trained=487_000_000)
    4570000000
    """
    cost = _COSTS[step.size, step.recompute]
    frame = (cost.learnt if step.learns_to_see else cost.seen) + step.queries * cost.query
    passed = step.frames * frame * (step.side_px / _SIDE_PX[step.size]) ** 2
    if step.precision == "float32":
        return round(passed)
    return round(passed * _SMALL[step.recompute]) + _COPY_BYTES * trained
