"""Articles, and the imports that bring them."""

from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from tillmesh.lines import Kind as LineKind
from tillmesh.lines import Unit
from tillmesh.runtime.money import Money


@dataclass(frozen=True, slots=True)
class PricePeriod:
    """A price that counts from a moment on, up to another; None leaves that end open."""

    start_ms: int | None
    end_ms: int | None
    price_minor: int


@dataclass(frozen=True, slots=True)
class CatalogueItem:
    """An article that the store sells."""

    sku: str
    gtins: tuple[str, ...]
    title: str
    kind: LineKind
    unit: Unit
    unit_price: Money
    price_quantity: int
    price_periods: tuple[PricePeriod, ...]
    """By time, without overlaps. At all other times the unit price counts."""
    tax_code: str
    tax_rate_ppm: int
    minimum_age_years: int
    deposit_sku: str

    def on_sale_at(self, now_ms: int) -> "CatalogueItem":
        """The article with the price that counts at a moment as its unit price."""
        for period in self.price_periods:
            if (period.start_ms is None or period.start_ms <= now_ms) and (
                period.end_ms is None or now_ms < period.end_ms
            ):
                return replace(self, unit_price=Money(self.unit_price.currency, period.price_minor))
        return self


def overlap(periods: tuple[PricePeriod, ...]) -> bool:
    """True if price periods are not in the order of time, each after the end of the one before."""
    return any(
        before.end_ms is None or after.start_ms is None or after.start_ms < before.end_ms
        for before, after in pairwise(periods)
    )


THE_CATALOGUE = 1
"""The key of the only one."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The generations that readers see, and the one that an import fills; 0 is none."""

    catalogue_id: int = THE_CATALOGUE
    base: int = 1
    overlay: int = 0
    staged: int = 0
    last_generation: int = 1
    checking: bool = False
    """True while the import that filled the staged generation is compared with the others."""
    item_count: int = 0

    @property
    def seen(self) -> tuple[int, ...]:
        """The generations that readers see; an article of the first one counts."""
        return (self.overlay, self.base) if self.overlay else (self.base,)

    @property
    def busy(self) -> bool:
        """True while an import that is complete is being taken over: then nothing else may change."""
        return self.checking or self.overlay != 0


class ImportState(StrEnum):
    """The states of an import."""

    OPEN = "OPEN"
    CHECKING = "CHECKING"
    COMMITTED = "COMMITTED"
    REFUSED = "REFUSED"
    CANCELED = "CANCELED"


@dataclass(frozen=True, slots=True)
class Violation:
    """A field of an article that fits neither the others nor what stays."""

    sku: str
    field: str
    description: str


@dataclass(frozen=True, slots=True)
class CatalogueImport:
    """An import in parts, which fills a generation of its own."""

    import_id: str
    generation: int
    replace_all: bool
    created_at_ms: int
    updated_at_ms: int
    state: ImportState = ImportState.OPEN
    part_count: int = 0
    part_hash: bytes = b""
    """Of the content of the last part."""
    item_count: int = 0
    added_count: int = 0
    """Of the checked ones, those whose sku the catalogue did not have."""
    checked_count: int = 0
    checked_sku: str = ""
    """The last one that is checked."""
    violations: tuple[Violation, ...] = ()
