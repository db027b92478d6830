"""A manifest says which runs a job trained and how they ended."""

import json

import pytest

from beft.errors import UserError
from beft.store.manifest import read_manifest


@pytest.mark.parametrize("content", ["[]", "{}", '{"runs": 5}', '{"runs": [{"digest": "0"}]}'])
def test_a_file_that_is_no_manifest_is_refused(tmp_path, content):
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(UserError, match="not a manifest"):
        read_manifest(tmp_path / "m.json")


def test_a_manifest_maps_digests_to_what_became_of_the_runs(tmp_path):
    entry = {"digest": "0", "status": "ok", "reason": "", "checksums": "1", "folder": "x"}
    (tmp_path / "m.json").write_text(json.dumps({"runs": [entry]}))
    read = read_manifest(tmp_path / "m.json")
    assert read == {"0": entry}
