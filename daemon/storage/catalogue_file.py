"""Reads the site's catalogue from .xlsx, .csv or .yaml, and says in which row what is wrong."""

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from python_calamine import CalamineError, CalamineWorkbook

from daemon.domain.catalogue import Catalogue, DuplicateWord, Product

# Column headings as sites write them, by the field they mean.
HEADINGS = {
    "name": ("name", "名称", "商品名", "商品名称", "产品名称", "耗材名称"),
    "code": ("code", "label_id", "产品编码", "编码", "物品编码", "商品编码"),
    "aliases": ("aliases", "alias", "别名", "俗称"),
    "specification": ("specification", "spec", "规格", "规格型号"),
    "udi_di": ("udi_di", "udi-di", "udi", "UDI-DI"),
}
_ALIAS_SEPARATORS = "|;；、"
ITEM_TEXT_MAX = 200  # characters in the ledger's columns; SQLite would take more, and the archive would not


class CatalogueBroken(ValueError):
    """The catalogue file cannot be used."""

    hint = "It needs a heading row with at least name (名称); code (产品编码), aliases (别名) and others are optional."


def read_catalogue(path: Path) -> Catalogue:
    """Raises CatalogueBroken with the file, the row and what was expected."""
    try:
        rows = _READERS[path.suffix.lower()](path)
        return Catalogue(_products(path, rows))
    except KeyError:
        raise CatalogueBroken(f"{path}: expected .xlsx, .csv or .yaml, got {path.suffix or 'no suffix'}") from None
    except OSError as error:
        raise CatalogueBroken(f"{path}: cannot be read: {error.strerror or error}") from error
    except (CalamineError, UnicodeDecodeError, csv.Error, yaml.YAMLError) as error:
        raise CatalogueBroken(f"{path}: not a readable {path.suffix[1:]} file: {error}") from error
    except DuplicateWord as error:
        raise CatalogueBroken(f"{path}: {error}") from error


def _products(path: Path, rows: Iterable[tuple[int, dict[str, str]]]) -> Iterator[Product]:
    count = 0
    for number, row in rows:
        if not any(row.values()):
            continue
        if not row.get("name"):
            raise CatalogueBroken(f"{path}: row {number}: name is empty")
        for field in ("name", "code"):
            if len(text := row.get(field, "")) > ITEM_TEXT_MAX:
                raise CatalogueBroken(
                    f"{path}: row {number}: {field} has {len(text)} characters, at most {ITEM_TEXT_MAX}: {text[:40]}..."
                )
        aliases = row.get("aliases", "")
        for separator in _ALIAS_SEPARATORS:
            aliases = aliases.replace(separator, "\n")
        count += 1
        yield Product(
            name=row["name"],
            code=row.get("code", ""),
            aliases=tuple(alias.strip() for alias in aliases.splitlines() if alias.strip()),
            specification=row.get("specification", ""),
            udi_di=row.get("udi_di", ""),
        )
    if count == 0:
        raise CatalogueBroken(f"{path}: no product in it")


def _table(path: Path, table: Iterable[list[Any]]) -> Iterator[tuple[int, dict[str, str]]]:
    rows = iter(table)
    fields = [_field_of(_text(cell)) for cell in next(rows, [])]
    if "name" not in fields:
        raise CatalogueBroken(f"{path}: row 1: no heading for the name; expected one of {', '.join(HEADINGS['name'])}")
    for number, cells in enumerate(rows, start=2):
        yield number, {name: _text(cell) for name, cell in zip(fields, cells, strict=False) if name}


def _csv(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from _table(path, csv.reader(file))


def _xlsx(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    if not path.exists():
        raise FileNotFoundError(2, "No such file or directory", str(path))
    sheet = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0)
    yield from _table(path, sheet.to_python(skip_empty_area=False))


def _yaml(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """A list of products, or the label file of earlier installations: `names` by index and `label_id` beside it."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    if isinstance(content, dict) and isinstance(content.get("names"), dict | list):
        names, given = _by_key(content["names"]), content.get("label_id") or content.get("label_ids") or {}
        if not isinstance(given, dict | list):
            raise CatalogueBroken(f"{path}: label_id: expected a list or mapping of codes, got {given!r}")
        codes = _by_key(given)
        if unknown := [key for key in codes if key not in names]:
            raise CatalogueBroken(f"{path}: label_id: {unknown} have no name")
        for number, (key, name) in enumerate(names.items(), start=1):
            yield number, {"name": _text(name), "code": _text(codes.get(key))}
        return
    products = content.get("products") if isinstance(content, dict) else content
    if not isinstance(products, list):
        raise CatalogueBroken(f"{path}: expected a list of products, or a mapping with `products` or `names`")
    for number, product in enumerate(products, start=1):
        if not isinstance(product, dict):
            raise CatalogueBroken(f"{path}: row {number}: expected a mapping, got {product!r}")
        row: dict[str, str] = {}
        for key, value in product.items():
            if (name := _field_of(str(key))) is None:
                raise CatalogueBroken(f"{path}: row {number}: unknown key {key!r}")
            row[name] = "\n".join(map(_text, value)) if isinstance(value, list) else _text(value)
        yield number, row


def _by_key(entries: dict[Any, Any] | list[Any]) -> dict[Any, Any]:
    """A list goes by its indexes."""
    return entries if isinstance(entries, dict) else dict(enumerate(entries))


_READERS = {".csv": _csv, ".xlsx": _xlsx, ".yaml": _yaml, ".yml": _yaml}


def _field_of(heading: str) -> str | None:
    folded = heading.strip().casefold()
    return next((name for name, spellings in HEADINGS.items() if folded in map(str.casefold, spellings)), None)


def _text(cell: Any) -> str:
    # A spreadsheet gives whole numbers back as floats: a code 1024 must not become "1024.0".
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return "" if cell is None else str(cell).strip()
