"""The catalogue as sites write it, and what is said of one that cannot be used."""

from pathlib import Path

import openpyxl
import pytest

from daemon.domain.catalogue import Catalogue
from daemon.storage.catalogue_file import CatalogueBroken, read_catalogue

ROWS: list[list[object]] = [
    ["产品编码", "商品名称", "别名", "规格型号", "备注"],
    [1024, "医用纱布", "纱布、gauze", "8cm", "x"],
    ["14764-2-4/14764-2-5", "缝线", None, None, None],
    [None, None, None, None, None],
    [None, "止血钳", "", "", ""],
]


def check(catalogue: Catalogue) -> None:
    assert [(product.name, product.code) for product in catalogue.products] == [
        ("医用纱布", "1024"),
        ("缝线", "14764-2-4/14764-2-5"),
        ("止血钳", ""),
    ]
    assert catalogue.products[0].aliases == ("纱布", "gauze")
    assert catalogue.products[0].specification == "8cm"
    for word in ("1024", "GAUZE", "14764-2-5"):
        assert catalogue.find(word) is not None, word


def test_a_workbook(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    for row in ROWS:
        book.active.append(row)
    book.save(tmp_path / "c.xlsx")
    check(read_catalogue(tmp_path / "c.xlsx"))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_comma_table(tmp_path: Path, mark: str) -> None:
    text = "\n".join(",".join("" if cell is None else str(cell) for cell in row) for row in ROWS)
    (tmp_path / "c.csv").write_text(mark + text, encoding="utf-8")
    check(read_catalogue(tmp_path / "c.csv"))


def test_a_list_in_yaml(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "products:\n"
        "- {code: 1024, name: 医用纱布, aliases: [纱布, gauze], specification: 8cm}\n"
        "- {编码: 14764-2-4/14764-2-5, 名称: 缝线}\n"
        "- {name: 止血钳}\n",
        encoding="utf-8",
    )
    check(read_catalogue(tmp_path / "c.yaml"))


@pytest.mark.parametrize(
    "text",
    [
        "names: {0: 纱布, 1: 缝线}\nlabel_id: {0: 740-2-14, 1: 4787/4788}\n",
        "names: [纱布, 缝线]\nlabel_id: [740-2-14, 4787/4788]\n",
        "names: {a: 纱布, b: 缝线}\nlabel_id: {a: 740-2-14, b: 4787/4788}\n",
    ],
)
def test_the_label_file_of_earlier_installations(tmp_path: Path, text: str) -> None:
    (tmp_path / "labels.yaml").write_text(text, encoding="utf-8")
    catalogue = read_catalogue(tmp_path / "labels.yaml")
    assert [(product.name, product.code) for product in catalogue.products] == [
        ("纱布", "740-2-14"),
        ("缝线", "4787/4788"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("c.csv", "编码,规格\n1,2\n", "row 1: no heading for the name; expected one of name, 名称"),
        ("c.csv", "", "row 1: no heading for the name"),
        ("c.csv", "name,code\n纱布,1\n,2\n", "row 3: name is empty"),
        ("c.csv", "name,code\n", "no product in it"),
        ("c.csv", "name,code\n纱布,1\n缝线,1\n", "'1' names both '纱布' and '缝线'"),
        ("c.csv", "名称\n纱布\n".encode("gbk"), "not a readable csv file"),
        ("c.csv", "name,code\n纱布," + "1" * 200_000 + "\n", "not a readable csv file"),
        ("c.yaml", "products: 3\n", "expected a list of products"),
        ("c.yaml", "- 纱布\n", "row 1: expected a mapping, got '纱布'"),
        ("c.yaml", "- {name: 纱布, colour: white}\n", "row 1: unknown key 'colour'"),
        ("c.yaml", "- {code: 5}\n", "row 1: name is empty"),
        ("c.yaml", "- {name: 纱布\n", "not a readable yaml file"),
        ("c.yaml", "names: {a: 纱布}\nlabel_id: [1]\n", "label_id: [0] have no name"),
        ("c.yaml", "names: [纱布]\nlabel_id: 5\n", "label_id: expected a list or mapping of codes, got 5"),
        ("c.yaml", "", "expected a list of products"),
        ("c.xlsx", b"PK\x03\x04 not a workbook", "not a readable xlsx file"),
        ("c.xlsx", "name\n", "not a readable xlsx file"),
        ("c.ods", "name\n", "expected .xlsx, .csv or .yaml, got .ods"),
        ("catalogue", "name\n", "expected .xlsx, .csv or .yaml, got no suffix"),
        ("c.csv", "name,code\n纱布,HC1\n缝线," + "1/" * 101, "row 3: code has 202 characters, at most 200"),
    ],
)
def test_a_broken_catalogue_says_where_and_what(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CatalogueBroken) as broken:
        read_catalogue(path)
    assert said in str(broken.value)
    assert str(path) in str(broken.value)


@pytest.mark.parametrize("name", ["c.csv", "c.xlsx", "c.yaml"])
def test_a_catalogue_that_is_not_there(tmp_path: Path, name: str) -> None:
    with pytest.raises(CatalogueBroken, match="cannot be read: No such file or directory"):
        read_catalogue(tmp_path / name)
