"""A process that trains runs for `tune`: `python -m beft.tuning.worker PARAMS DEVICE`.

Each line on standard input is `{"study": path, "digests": [...]}`. Each line on standard output is
`{"done": steps, "total": steps}`, and in the end `{"trained": true}` or `{"error": line}`.
"""

import gc
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from beft import code_identity

if TYPE_CHECKING:
    from beft.study.project import Project

POLL = 1.0  # seconds between two looks whether the parent lives


def main(params: Path, device: str) -> int:
    """Trains what is asked for until standard input ends."""
    code_identity.pin()  # before any module that counts is imported
    # What libraries print goes to the log: lines on standard output are for the parent.
    lines = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    say = partial(_say, lines)
    threading.Thread(target=_stop_with_parent, args=(os.getppid(),), daemon=True).start()
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    first = sys.stdin.readline()
    if not first:
        return 0  # there was nothing to train
    import torch

    from beft.errors import UserError
    from beft.training.state import Interrupted

    torch.set_num_threads(1)
    for line in chain([first], sys.stdin):
        wish = json.loads(line)
        try:
            _train(params, device, wish["study"], wish["digests"], say)
        except Interrupted:
            return 128 + signal.SIGTERM
        except torch.OutOfMemoryError as error:
            say(error=f"out of memory on {device} ({str(error).splitlines()[0]})")
        except UserError as error:
            say(error=str(error))
        else:
            say(trained=True)
        gc.collect()  # the job's model is part of cycles
    return 0


def _train(
    params: Path, device: str, study: str, digests: list[str], say: Callable[..., None]
) -> None:
    from beft.study.recipe import Pack
    from beft.training.pack import run_pack

    project = _project(params, study)
    known = {recipe.digest: recipe for recipe in project.recipes}
    pack = Pack(tuple(known[digest] for digest in digests), project.study.skip_inert)
    manifest = project.layout.pack(pack.manifest())
    run_pack(
        *(project.layout, pack, manifest, device),
        progress=lambda done, total, text: say(done=done, total=total),
    )


@cache
def _project(params: Path, study: str) -> "Project":
    from beft.study.project import load

    return load(params, study)


def _say(lines: TextIO, **words: object) -> None:
    print(json.dumps(words), file=lines)


def _stop_with_parent(parent: int) -> None:
    """However the parent ends, the runs get a checkpoint and this process ends, too."""
    while os.getppid() == parent:
        time.sleep(POLL)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
    os._exit(1)  # it was waiting for the next line


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("beft").setLevel(logging.INFO)
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
