import sys

import pytest

from ndpresponder.linux.imports import without


def test_what_is_not_loaded_has_a_stand_in_meanwhile_and_none_afterwards() -> None:
    with without("wave", "email.nothing"):
        import wave

        class Derived(wave.Wave_read, wave.Error): ...

        with pytest.raises(wave.Error):
            raise Derived
        assert not hasattr(wave, "__path__")
    assert not {"wave", "email.nothing"} & set(sys.modules)
    import wave as real

    assert real is not wave
    assert real.__spec__ is not None


def test_what_is_loaded_stays_what_it_is() -> None:
    import json

    with without("json"):
        import json as meanwhile
    assert sys.modules["json"] is json is meanwhile


def test_a_failed_import_leaves_no_stand_in_behind() -> None:
    with pytest.raises(ImportError), without("colorsys"):
        import nothing_of_that_name  # noqa: F401
    assert "colorsys" not in sys.modules
