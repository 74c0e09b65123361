"""Frozen records, as `dataclasses` makes them, without the 15 ms that importing it and building them costs.

To a type checker `record` *is* ``dataclass(frozen=True, slots=True)``. At run time it does the part of it that frozen
records with slots need: the same ``__init__``, ``repr``, equality, order, hash and pickling. `dataclasses.fields`,
`dataclasses.asdict` and `dataclasses.replace` work on these classes too: what they look for is made when it is wanted.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass as record
    from dataclasses import field, replace
else:

    class _Default:
        """A default that is made anew for each record."""

        __slots__ = ("make",)

        def __init__(self, make):
            self.make = make

    def field(*, default_factory):
        """As `dataclasses.field`, for a default that is made anew each time."""
        return _Default(default_factory)

    def replace(instance, /, **changes):
        """As `dataclasses.replace`."""
        kind = type(instance)
        return kind(
            **{name: changes.pop(name, getattr(instance, name)) for name in kind.__slots__}, **changes
        )

    class _Fields:
        """What `dataclasses` looks for, made when it looks."""

        def __get__(self, instance, owner):
            import dataclasses

            made = {}
            for name in owner.__slots__:
                default = owner._defaults.get(name, dataclasses.MISSING)
                how = {"default_factory": default.make} if type(default) is _Default else {"default": default}
                made[name] = spec = dataclasses.field(**how)
                spec.name, spec.type = name, owner.__annotations__[name]
                spec._field_type = dataclasses._FIELD
            return made

    def record(*, frozen, slots, eq=True, order=False):
        """As `dataclasses.dataclass`; records are always frozen and have slots."""
        assert frozen
        assert slots

        def build(plain):
            names = [n for n, kind in plain.__annotations__.items() if not kind.startswith("ClassVar")]
            body = {
                n: v
                for n, v in plain.__dict__.items()
                if n not in names and n not in ("__dict__", "__weakref__")
            }
            body["__slots__"] = body["__match_args__"] = tuple(names)
            body["_defaults"] = {n: plain.__dict__[n] for n in names if n in plain.__dict__}
            body["__dataclass_fields__"] = _Fields()
            methods = dict(_METHODS)
            if eq:
                methods.update(_EQUALITY)
            if order:
                methods.update(_ORDER)
            for name, method in methods.items():
                body.setdefault(name, method)
            return type(plain)(plain.__name__, plain.__bases__, body)

        return build

    _put = object.__setattr__

    def _init(self, *args, **kwargs):
        names = self.__slots__
        if len(args) > len(names):
            raise TypeError(f"{type(self).__name__} takes {len(names)} values, not {len(args)}")
        for name, value in zip(names, args, strict=False):
            if name in kwargs:
                raise TypeError(f"{type(self).__name__} was given {name} twice")
            _put(self, name, value)
        defaults = self._defaults
        for name in names[len(args) :]:
            if name in kwargs:
                value = kwargs.pop(name)
            elif name in defaults:
                value = defaults[name]
                if type(value) is _Default:
                    value = value.make()
            else:
                raise TypeError(f"{type(self).__name__} needs {name}")
            _put(self, name, value)
        if kwargs:
            raise TypeError(f"{type(self).__name__} has no {next(iter(kwargs))}")

    def _values(self):
        return tuple([getattr(self, name) for name in self.__slots__])

    def _refuse(self, name, value=None):
        raise AttributeError(
            f"{type(self).__name__} is frozen: {name} cannot be changed; see dataclasses.replace"
        )

    def _repr(self):
        inside = ", ".join([f"{name}={getattr(self, name)!r}" for name in self.__slots__])
        return f"{type(self).__qualname__}({inside})"

    def _compare(how):
        def compare(self, other):
            return how(_values(self), _values(other)) if type(other) is type(self) else NotImplemented

        return compare

    _METHODS = {
        "__init__": _init,
        "__repr__": _repr,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__reduce__": lambda self: (type(self), _values(self)),
    }
    _EQUALITY = {"__eq__": _compare(tuple.__eq__), "__hash__": lambda self: hash(_values(self))}
    _ORDER = {
        "__lt__": _compare(tuple.__lt__),
        "__le__": _compare(tuple.__le__),
        "__gt__": _compare(tuple.__gt__),
        "__ge__": _compare(tuple.__ge__),
    }

__all__ = ["field", "record", "replace"]
