"""Exact money in SQL: one type and one sum for both databases.

PostgreSQL has NUMERIC without a scale, exact to the last digit. SQLite's numbers are 64-bit, so
there an amount is canonical decimal text, summed and compared by functions of ours that every
connection registers.
"""

import sqlite3
from decimal import Decimal
from typing import Any

from sqlalchemy import Dialect, Numeric, Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from infermesh_analytics.domain import money
from infermesh_common.usage import plain

_SUM = "decimal_sum"
_COLLATION = "decimal_order"


class ExactDecimal(TypeDecorator[Decimal]):
    """An amount of money; never a float, in neither direction."""

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Decimal] | TypeEngine[str]:
        """NUMERIC, or TEXT on SQLite, whose NUMERIC affinity would make a float of it."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(Text())
        return dialect.type_descriptor(Numeric())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Decimal | str | None:
        """What the driver gets."""
        if value is None:
            return None
        return plain(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Decimal | str | None, dialect: Dialect) -> Decimal | None:
        """What the driver gave."""
        assert value is None or isinstance(value, (Decimal, str))
        return None if value is None else Decimal(value)


class ExactSum(FunctionElement[Decimal]):
    """Sum of an `ExactDecimal` column; NULL when it has no value that is not NULL."""

    type = ExactDecimal()
    inherit_cache = True


class ByAmount(FunctionElement[Decimal]):
    """An `ExactDecimal` expression that is ordered and compared by its value."""

    type = ExactDecimal()
    inherit_cache = True


def _argument(element: FunctionElement[Decimal]) -> ColumnElement[Decimal]:
    (argument,) = element.clauses
    return argument


@compiles(ExactSum)
def _sum(element: ExactSum, compiler: SQLCompiler, **options: object) -> str:
    return f"sum({compiler.process(_argument(element), **options)})"


@compiles(ExactSum, "sqlite")
def _sum_on_sqlite(element: ExactSum, compiler: SQLCompiler, **options: object) -> str:
    return f"{_SUM}({compiler.process(_argument(element), **options)})"


@compiles(ByAmount)
def _by_amount(element: ByAmount, compiler: SQLCompiler, **options: object) -> str:
    return f"({compiler.process(_argument(element), **options)})"


@compiles(ByAmount, "sqlite")
def _by_amount_on_sqlite(element: ByAmount, compiler: SQLCompiler, **options: object) -> str:
    return f"({compiler.process(_argument(element), **options)} COLLATE {_COLLATION})"


class _DecimalSum:
    """SQLite aggregate over decimal text; typeshed knows only aggregates over integers."""

    def __init__(self) -> None:
        self._total: Decimal | None = None

    def step(self, text: Any, /) -> None:
        """Takes one value; NULL does not count."""
        if text is not None:
            amount = Decimal(text)
            self._total = amount if self._total is None else money.add(self._total, amount)

    def finalize(self) -> Any:
        """The sum as canonical text."""
        return None if self._total is None else plain(self._total)


def _compare(left: str, right: str) -> int:
    a, b = Decimal(left), Decimal(right)
    return (a > b) - (a < b)


def register_functions(connection: sqlite3.Connection) -> None:
    """Gives a SQLite connection the sum and the order of decimal text."""
    connection.create_aggregate(_SUM, 1, _DecimalSum)
    connection.create_collation(_COLLATION, _compare)
