"""The names of a run's files and of the keys in them stand in one module alone."""

import re

from beft.code_identity import PACKAGE, essence
from beft.store import run_format as F

NAMES = (F.RECIPE, F.METRICS, F.HISTORY, F.PROVENANCE, F.GRADIENTS)
NAMES += (F.BIASES, F.HEAD, F.PREDICTIONS, F.EXAMPLES)
KEYS = ("pre/", "post/", "epoch-", "mean_abs/", "mean_square/")
SPELLED = re.compile("|".join([*map(re.escape, NAMES), *(rf"[\"'/]{key}" for key in KEYS)]))
EXPECTED = {
    "adapters/peft_files.py": {"head.safetensors"},  # of an adapter's folder
    "report/build.py": {"metrics.json"},  # reports/metrics.json
    "report/figures/curves.py": {"history.csv"},  # reports/history.csv
    "study/settings.py": {"provenance.json"},  # the help of a setting
}


def test_no_other_module_spells_a_name_of_the_format():
    spelled = {}
    for path in PACKAGE.rglob("*.py"):
        found = set(SPELLED.findall(essence(path.read_text())))
        if found:
            spelled[path.relative_to(PACKAGE).as_posix()] = found
    own = spelled.pop("store/run_format.py")
    assert set(NAMES) <= own and any("epoch-" in name for name in own)
    assert spelled == EXPECTED
