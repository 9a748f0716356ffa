"""What accelerate is told by the environment, and can't be done here, is one line."""

from __future__ import annotations

import pytest

from modules.core.checks import ConfigurationError
from modules.runtime.runtime import Runtime


@pytest.mark.parametrize("name", ["DEEPSPEED", "FSDP", "MEGATRON_LM"])
def test_networks_that_would_be_shared_out_are_refused(monkeypatch, name):
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(ConfigurationError, match=f"ACCELERATE_USE_{name} is set: .*; unset it") as caught:
        Runtime(trackers=()).device  # noqa: B018
    assert "\n" not in str(caught.value)
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "false")
    assert Runtime(trackers=()).num_processes == 1
