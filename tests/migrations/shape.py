"""What a database says that its schema is."""

from typing import Any

from sqlalchemy import Engine, Inspector, TextClause, inspect
from sqlalchemy.engine.interfaces import ReflectedColumn

TRIGGERS = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'",
    "postgresql": "SELECT tgname, pg_get_triggerdef(pg_trigger.oid) || pg_get_functiondef(tgfoid) "
    "FROM pg_trigger WHERE NOT tgisinternal",
}

Shape = dict[str, Any]


def shape(engine: Engine) -> Shape:
    """Tables with columns, constraints and indexes, and all triggers; in no order."""
    inspector = inspect(engine)
    with engine.connect() as connection:
        triggers = connection.exec_driver_sql(TRIGGERS[engine.dialect.name])
        shaped: Shape = {"triggers": {str(name): str(text) for name, text in triggers}}
    return shaped | {name: _table(inspector, name) for name in inspector.get_table_names()}


def _table(inspector: Inspector, name: str) -> Shape:
    return {
        "columns": {column["name"]: _column(column) for column in inspector.get_columns(name)},
        "primary key": _plain(inspector.get_pk_constraint(name)),
        "foreign keys": _unordered(inspector.get_foreign_keys(name)),
        "unique": _unordered(inspector.get_unique_constraints(name)),
        "checks": _unordered(inspector.get_check_constraints(name)),
        "indexes": _unordered(inspector.get_indexes(name)),
    }


def _column(column: ReflectedColumn) -> tuple[str, ...]:
    return str(column["type"]), str(column["nullable"]), str(column["default"]), str(column.get("computed"))


def _unordered(things: list[Any]) -> list[str]:
    return sorted(str(_plain(thing)) for thing in things)


def _plain(thing: Any) -> Any:
    if isinstance(thing, dict):
        return sorted((key, _plain(value)) for key, value in thing.items())
    return str(thing) if isinstance(thing, TextClause) else thing
