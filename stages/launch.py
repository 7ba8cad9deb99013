"""Start the workers of a training stage, as ``train.launcher`` of ``params.yaml`` says."""

from __future__ import annotations

import typer

from sam3_angio.command import reporting
from sam3_angio.detector.launcher import launch

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
def main(context: typer.Context, join: bool = False, slurm_task: bool = False) -> None:
    """Start workers that are given what follows: ``-m stages.train_phase1 --dataset …``."""
    launch(context.args, joins=join, slurm_task=slurm_task)


if __name__ == "__main__":
    with reporting():
        app()
