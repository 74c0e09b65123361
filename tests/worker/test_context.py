"""Context variables that travel: by the place of the variable in a module, and decimal's own."""

from __future__ import annotations

import contextvars
import decimal
import sys
from types import SimpleNamespace

import pytest

from whichpool._worker import context
from whichpool._worker.context import pack_context, unpack_context

named = contextvars.ContextVar("named", default="unset")
# Called as decimal's own is.
like_decimals = contextvars.ContextVar("decimal_context")


def in_new_context(function):
    return contextvars.Context().run(function)


def test_named_variables_and_the_decimal_context_arrive():
    def there():
        named.set("set")
        decimal.getcontext().prec = 7
        return contextvars.copy_context()

    arrived = unpack_context(pack_context(in_new_context(there)))
    assert arrived[named] == "set"
    assert arrived.run(decimal.getcontext).prec == 7


def test_a_variable_that_is_called_as_decimals_is_arrives():
    def there():
        like_decimals.set(decimal.Context(prec=5))
        decimal.getcontext().prec = 7
        return contextvars.copy_context()

    arrived = unpack_context(pack_context(in_new_context(there)))
    assert arrived[like_decimals].prec == 5
    assert arrived.run(decimal.getcontext).prec == 7


class NotLookedThrough(dict):
    def items(self):
        pytest.fail("it looks through all modules")


@pytest.mark.parametrize("used", [False, True])
def test_modules_are_looked_through_only_if_something_is_set(monkeypatch, used):
    """decimal's variable is set in every program that has calculated with it, and is in no module."""

    def there():
        if used:
            assert decimal.Decimal(1) / 3
        return contextvars.copy_context()

    monkeypatch.setattr(context, "sys", SimpleNamespace(modules=NotLookedThrough(sys.modules)))
    ((module, attribute, _),) = pack_context(in_new_context(there))
    assert (module, attribute) == ("decimal", "")
