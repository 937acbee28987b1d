"""SQLAlchemy's statements on the driver's own cursor.

SQLAlchemy is the one language for both databases. A statement is compiled once and then costs what the
driver costs: SQLAlchemy's own execution takes several times as long as SQLite does to find a row.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Dialect, Select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

Values = Mapping[str, Any]
NO_VALUES: Values = {}
Row = Mapping[str, Any]
"""A row by the names of its columns."""


class Result:
    """The rows that a statement returned, if it returns any, or how many it changed."""

    def __init__(self, names: Sequence[str], rows: Sequence[Sequence[Any]], rowcount: int) -> None:
        self.rowcount = rowcount
        self._names = names
        self._rows = rows

    def __iter__(self) -> Iterator[Row]:
        return map(self._row, self._rows)

    def all(self) -> list[Row]:
        """Every row."""
        return list(self)

    def first(self) -> Row | None:
        """The first row, if there is one."""
        return self._row(self._rows[0]) if self._rows else None

    def one_or_none(self) -> Row | None:
        """The only row, if there is one."""
        if len(self._rows) > 1:
            raise ValueError(f"at most one row was looked for, {len(self._rows)} were found")
        return self.first()

    def one(self) -> Row:
        """The only row."""
        row = self.one_or_none()
        if row is None:
            raise ValueError("one row was looked for, none was found")
        return row

    def scalars(self) -> list[Any]:
        """The first column of every row."""
        return [row[0] for row in self._rows]

    def scalar_one(self) -> Any:
        """The first column of the only row."""
        self.one()
        return self._rows[0][0]

    def _row(self, cells: Sequence[Any]) -> Row:
        return dict(zip(self._names, cells, strict=True))


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement in the dialect of one database."""

    text: str
    parameters: Callable[[Values], Any]
    """From values by name to what the driver wants."""
    columns: Sequence[str]
    """Names of the columns that it returns; the driver's own description costs as much as the row."""
    writes: bool
    conversions: Sequence[tuple[int, Callable[[Any], Any]]]
    """Of result columns by position, where the driver knows fewer types than the table."""

    def converted(self, rows: list[Sequence[Any]]) -> list[Sequence[Any]]:
        """Rows with the types of their columns."""
        if not self.conversions:
            return rows
        changed: list[Sequence[Any]] = []
        for row in rows:
            cells = list(row)
            for position, convert in self.conversions:
                cells[position] = convert(cells[position])
            changed.append(cells)
        return changed


class Statements:
    """A process's statements in the dialect of its database, each compiled once for all connections."""

    _compiled: "WeakKeyDictionary[ClauseElement, dict[tuple[str, ...], _Compiled]]"

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._compiled = WeakKeyDictionary()

    def compiled(self, statement: ClauseElement, values: Values) -> _Compiled:
        """The statement for values with these names."""
        forms = self._compiled.get(statement)
        if forms is None:
            forms = self._compiled[statement] = {}
        names = tuple(values)
        found = forms.get(names)
        if found is None:
            found = forms[names] = _compile(statement, names, self.dialect)
        return found


class Transaction:
    """Runs statements in the transaction of the operation that it is handed to."""

    def __init__(self, cursor: Any, statements: Statements) -> None:
        self._cursor = cursor
        self._statements = statements
        self.writes = 0
        """Statements so far that may have changed something."""

    def execute(self, statement: ClauseElement, values: Values = NO_VALUES) -> Result:
        """Runs a statement; raises SQLAlchemy's DBAPIError."""
        compiled = self._statements.compiled(statement, values)
        result = self._run(compiled.text, compiled.parameters(values), compiled)
        if compiled.writes and result.rowcount:
            self.writes += 1
        return result

    def execute_many(self, statement: ClauseElement, rows: Sequence[Values]) -> None:
        """Runs a statement that returns nothing, once for each of the values; there must be some."""
        compiled = self._statements.compiled(statement, rows[0])
        self.writes += 1
        try:
            self._cursor.executemany(compiled.text, [compiled.parameters(values) for values in rows])
        except self._statements.dialect.loaded_dbapi.Error as error:
            raise self._wrapped(compiled.text, error) from error

    def exec_driver_sql(self, text: str, parameters: Sequence[Any] = ()) -> Result:
        """Runs SQL of the one database that is there."""
        self.writes += 1
        return self._run(text, parameters)

    def command(self, text: str) -> None:
        """Runs what neither reads nor writes rows, such as the begin of a transaction."""
        self._run(text, ())

    def _run(self, text: str, parameters: Any, compiled: _Compiled | None = None) -> Result:
        cursor = self._cursor
        try:
            if parameters:
                cursor.execute(text, parameters)
            else:
                cursor.execute(text)
            columns = compiled.columns if compiled else [column[0] for column in cursor.description or ()]
            rows = cursor.fetchall() if columns else []
        except self._statements.dialect.loaded_dbapi.Error as error:
            raise self._wrapped(text, error) from error
        return Result(columns, compiled.converted(rows) if compiled else rows, cursor.rowcount)

    def _wrapped(self, text: str, error: Exception) -> Exception:
        """The error as SQLAlchemy has it for every driver; without the values, which are nobody's business."""
        dialect = self._statements.dialect
        dbapi_error = dialect.loaded_dbapi.Error
        return DBAPIError.instance(text, None, error, dbapi_error, hide_parameters=True, dialect=dialect)


def _compile(statement: ClauseElement, names: Sequence[str], dialect: Dialect) -> _Compiled:
    compiled = statement.compile(dialect=dialect, column_keys=list(names) or None)
    if not isinstance(compiled, SQLCompiler):
        return _Compiled(str(compiled), lambda _values: (), (), True, ())
    expanded = compiled.construct_expanded_state(dict.fromkeys(names))  # each IN with as many places as it has values
    constants = {name: value for name, value in expanded.parameters.items() if name not in names}
    columns = [str(column.keyname) for column in compiled._result_columns]  # no subclass, which is no key in JSON
    conversions = []
    for position, column in enumerate(compiled._result_columns):
        convert = column.type.dialect_impl(dialect).result_processor(dialect, None)
        if convert is not None:
            conversions.append((position, convert))
    parameters = _arranged(constants, expanded.positiontup)
    return _Compiled(expanded.statement, parameters, columns, not isinstance(statement, Select), conversions)


def _arranged(constants: Values, order: Sequence[str] | None) -> Callable[[Values], Any]:
    """Adds the parameters that stand in the statement; by position, where the driver does not take them by name."""
    if order is None:
        return lambda values: {**constants, **values}
    if len(order) < 2:  # itemgetter makes no tuple then
        return lambda values: [{**constants, **values}[name] for name in order]
    in_order = itemgetter(*order)
    if constants:
        return lambda values: in_order({**constants, **values})
    return in_order
