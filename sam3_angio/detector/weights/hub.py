"""Meta's weights from the Hugging Face hub.

The repository is gated: its owner grants access to an account, and the account's token is needed
to download. The token is the hub client's own affair (``hf auth login``, or ``HF_TOKEN``); nothing
here reads it but to see whether there is one.

Conventions
-----------
A file that was downloaded once is used from the hub client's store and not asked for again, so
that a training neither needs the network nor gets other weights in the middle of a project.
"""

from __future__ import annotations

from pathlib import Path

from sam3_angio.detector.pulse import alive
from sam3_angio.errors import ConfigError

_REPOSITORY, _FILE = "facebook/sam3", "sam3.pt"
_PAGE = f"https://huggingface.co/{_REPOSITORY}"
_OTHER_WAY = f"Or download {_FILE} elsewhere and give its path as model.checkpoint."


def stored_weights() -> Path | None:
    """Return Meta's ``sam3.pt`` if it was downloaded before."""
    from huggingface_hub import try_to_load_from_cache

    kept = try_to_load_from_cache(_REPOSITORY, _FILE)
    return Path(kept) if isinstance(kept, str) else None


def published_weights() -> Path:
    """Return Meta's ``sam3.pt``, downloaded when it is asked for the first time (3.4 GB).

    Raises
    ------
    ConfigError
        The account has no access, there is no token, the hub is out of reach, or the disk is full.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    from huggingface_hub.utils import httpx

    kept = stored_weights()
    if kept is not None:
        return kept
    try:
        with alive():
            return Path(hf_hub_download(_REPOSITORY, _FILE))
    except HfHubHTTPError as error:
        raise _refused(error.response.status_code) from None
    except (LocalEntryNotFoundError, httpx.HTTPError, ConnectionError):
        raise _out_of_reach() from None
    except OSError as error:
        raise ConfigError(
            f"Meta's weights cannot be stored ({error.strerror}): 3.4 GB must fit in the folder "
            f"HF_HOME. {_OTHER_WAY}"
        ) from None


def _refused(status: int) -> ConfigError:
    from huggingface_hub import get_token

    if status not in (401, 403, 404):  # a private or gated repository may be said not to exist
        return ConfigError(f"The Hugging Face hub answers with error {status}. Try again later.")
    if get_token() is None:
        why = "no token was found. Log in with `hf auth login`, or set HF_TOKEN"
    else:
        why = "the token's account has no access, or the token may not read gated repositories"
    return ConfigError(
        "params.yaml, field 'model.checkpoint': Meta's weights are gated, and "
        f"{why}. Ask for access at {_PAGE}. {_OTHER_WAY}"
    )


def _out_of_reach() -> ConfigError:
    return ConfigError(
        "params.yaml, field 'model.checkpoint': the Hugging Face hub cannot be reached, and Meta's "
        "weights have not been downloaded before. Check the network, and that HF_HUB_OFFLINE is "
        f"not set. Access is asked for at {_PAGE}. {_OTHER_WAY}"
    )
