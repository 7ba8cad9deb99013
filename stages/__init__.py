"""The pipeline's stages: one thin script each, named as in ``dvc.yaml`` and ``params.yaml``."""
