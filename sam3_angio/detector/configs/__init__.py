"""Packaged Hydra configurations, one a training phase."""
