"""`--mode card`: writes MODEL_CARD.md into the folder of a finished run: a model card and a data statement.

A card that is there is not written over: its author may have filled in the blanks.
"""

from pathlib import Path
from typing import Any

from cvdl_jax.errors import DataError, UserError
from cvdl_jax.report import model_card
from cvdl_jax.workdir.folder import write_whole

FLAGS = ("workdir",)  # that it reads


def run(args: Any) -> int:
    """Writes the card and says how much is left to fill in.

    Raises:
        UserError: for a run that is not finished, or that has a card.
        DataError: for a folder that cannot be written to.
    """
    card = model_card.text(Path(args.workdir))
    path = Path(args.workdir) / model_card.NAME
    if path.exists():
        raise UserError(f"{path} exists, and what is filled in would be lost; move it away to write it again")
    try:
        write_whole(path, card.encode())
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from error
    print(f"card: {path}; {card.count(model_card.BLANK)} blanks are left for its author, each begins with FILL IN")
    return 0
