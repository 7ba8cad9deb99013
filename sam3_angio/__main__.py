"""``python -m sam3_angio …`` is ``sam3-angio …``, also where scripts are not on the path."""

from sam3_angio.cli import app

if __name__ == "__main__":
    app()
