"""The Hugging Face Hub: what is exchanged with it, and its faults in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from modules.core.checks import CheckpointError
from modules.runs.card import PICTURE
from modules.runs.data_record import DATA
from modules.runs.folder import CONFIG, IMPORTS

SHARED = [CONFIG, IMPORTS, DATA, "README.md", PICTURE, "checkpoints/*/*.json", "checkpoints/*/*.safetensors"]
"""What is uploaded and downloaded: data alone, no code."""


@contextmanager
def one_line(name: str, revision: str | None = None) -> Iterator[None]:
    """The Hub's faults as one line that says what to do."""
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as fault:
        raise CheckpointError(
            f"{name} is neither a folder nor a name on the Hub, which has the form user/name"
        ) from fault
    except errors.RevisionNotFoundError as fault:
        raise CheckpointError(f"{name} has no revision {revision!r} on the Hub") from fault
    except errors.RepositoryNotFoundError as fault:  # gated ones are of this kind too
        raise CheckpointError(
            f"{name} is not on the Hub, or is private: check the name, or log in by hf auth login"
        ) from fault
    except errors.LocalEntryNotFoundError as fault:
        raise CheckpointError(
            f"{name} is not in the cache, and the Hub can't be reached: download it where there is a network"
        ) from fault
    except (errors.HfHubHTTPError, errors.LocalTokenNotFoundError) as fault:
        raise CheckpointError(f"the Hub refuses {name}: {fault}: log in by hf auth login") from fault
    except (errors.OfflineModeIsEnabled, OSError, RuntimeError) as fault:
        raise CheckpointError(f"the Hub can't be reached for {name}: {fault}") from fault
