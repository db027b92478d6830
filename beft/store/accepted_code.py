"""Which digests of code are declared to give the results of a recipe version."""

import json
from pathlib import Path

from beft import code_identity
from beft.store.files import to_json, write_file
from beft.study.recipe import RECIPE_VERSION

LEDGER = Path(__file__).with_suffix(".json")


def accepted(ledger: Path = LEDGER) -> list[str]:
    """Digests of code that gives the results of the current `RECIPE_VERSION`."""
    try:
        return json.loads(ledger.read_text()).get(str(RECIPE_VERSION), [])
    except FileNotFoundError:
        return []


def accept(ledger: Path = LEDGER) -> str:
    """Declares the current code equivalent to the others of its version; returns its digest."""
    known = json.loads(ledger.read_text()) if ledger.exists() else {}
    digests = known.setdefault(str(RECIPE_VERSION), [])
    if code_identity.code_digest() not in digests:
        digests.append(code_identity.code_digest())
    write_file(ledger, to_json(known))
    return code_identity.code_digest()
