"""Generic scenes with phrases and masks, to pretrain the tiny model on.

Scenes are drawn, not stored: scene k of a size is the same for ever, and drawing one with its
queries takes about 10 ms. No anatomy: the words and the figures know nothing of the heart.
"""

from sam3_angio.scenes.dataset import ScenePlan, write_scenes
from sam3_angio.scenes.questions import SceneQuery, queries, scene_queries
from sam3_angio.scenes.scene import Scene, draw_scene

__all__ = [
    "Scene",
    "ScenePlan",
    "SceneQuery",
    "draw_scene",
    "queries",
    "scene_queries",
    "write_scenes",
]
