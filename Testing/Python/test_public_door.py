"""The names the library offers at its door are its own, and complete."""

from __future__ import annotations

import AdvSegLib


def test_every_public_name_resolves_and_is_documented() -> None:
    for name in AdvSegLib.__all__:
        thing = getattr(AdvSegLib, name)
        assert thing.__name__ == name
        assert thing.__doc__
    assert sorted(AdvSegLib._HOMES) == sorted(AdvSegLib.__all__)
