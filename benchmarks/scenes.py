"""How fast scenes are drawn, and how far the words alone give the answer away.

``python benchmarks/scenes.py [--scenes 400] [--size-px 384]`` prints scenes a second on one core
with and without queries, the size of the vocabulary, and the area under the curve of a guess from
the words alone (0.5 would mean that a model must look at the picture for everything; every set of
phrases with names of things that are sometimes there lies above).
"""

from __future__ import annotations

import time

import cv2
import numpy as np
import typer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from sam3_angio.scenes import SceneQuery, draw_scene, scene_queries


def drawn_a_second(scenes: int, size_px: int) -> float:
    started = time.process_time()
    for seed in range(scenes):
        draw_scene(seed, size_px)
    return scenes / (time.process_time() - started)


def asked_a_second(scenes: int, size_px: int) -> tuple[float, list[SceneQuery]]:
    asked: list[SceneQuery] = []
    started = time.process_time()
    for seed in range(scenes):
        asked += scene_queries(seed, size_px, 4, 4)[1]
    return scenes / (time.process_time() - started), asked


def blind_guess_auc(asked: list[SceneQuery]) -> float:
    phrases = [query.phrase for query in asked]
    present = np.array([query.present for query in asked])
    words = CountVectorizer(ngram_range=(1, 2), min_df=3).fit_transform(phrases)
    half = len(asked) // 2
    guess = LogisticRegression(C=0.3, max_iter=500).fit(words[:half], present[:half])
    return float(roc_auc_score(present[half:], guess.predict_proba(words[half:])[:, 1]))


def main(scenes: int = 400, size_px: int = 384) -> None:
    cv2.setNumThreads(1)
    print(f"drawn: {drawn_a_second(scenes, size_px):.0f} scenes/s a core at {size_px} px")
    rate, asked = asked_a_second(scenes, size_px)
    vocabulary = {word for query in asked for word in query.phrase.split()}
    distinct = len({query.phrase for query in asked})
    print(f"with 4 true and 4 false phrases: {rate:.0f} scenes/s")
    print(f"{len(vocabulary)} words, {distinct} different phrases in {len(asked)} queries")
    print(f"present or absent, guessed from the words alone: AUC {blind_guess_auc(asked):.2f}")


if __name__ == "__main__":
    typer.run(main)
