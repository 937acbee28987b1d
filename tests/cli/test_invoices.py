"""What a file of invoices is read as: every oddity that the real data set has, and those that break a file."""

import gzip
from pathlib import Path

import pytest

from tests.cli.command_line import HEADER, row, write_invoices
from tillmesh.cli.csv_rows import BadFile
from tillmesh.cli.replay.invoices import InvoiceFile, read_invoices
from tillmesh.runtime.money import Money
from tillmesh.samples import ONLINE_RETAIL


@pytest.fixture
def read(tmp_path: Path) -> "Reader":
    return Reader(tmp_path)


class Reader:
    """Reads rows, or a whole file's bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def rows(self, *rows: str, currency: str = "GBP") -> InvoiceFile:
        return read_invoices(write_invoices(self._folder, *rows), currency)

    def data(self, data: bytes, name: str = "invoices.csv") -> InvoiceFile:
        path = self._folder / name
        path.write_bytes(data)
        return read_invoices(path, "GBP")

    def refusal(self, data: bytes, name: str = "invoices.csv") -> str:
        """What is wrong with the file, without its path."""
        with pytest.raises(BadFile) as caught:
            self.data(data, name)
        text = str(caught.value)
        assert "\n" not in text
        assert text.startswith(f"{self._folder / name}: ")
        return text.removeprefix(f"{self._folder / name}: ")


def test_the_sample_has_exactly_its_published_totals() -> None:
    file = read_invoices(ONLINE_RETAIL, "GBP")
    sales = [invoice.total_minor for invoice in file.invoices if not invoice.is_return]
    returns = [invoice.total_minor for invoice in file.invoices if invoice.is_return]
    assert (len(sales), Money("GBP", sum(sales)).decimal()) == (1150, "616394.56")
    assert (len(returns), Money("GBP", -sum(returns)).decimal()) == (221, "68394.42")
    assert Money("GBP", sum(sales) + sum(returns)).decimal() == "548000.14"
    assert file.skipped == {"zero_total": 129}
    assert file.rejected == []


def test_equal_rows_are_separate_lines_and_text_stays_as_it_is(read: Reader) -> None:
    line = row("536365", "85123a", 6, title='" ""HEART"", white "')
    (invoice,) = read.rows(line, line).invoices
    assert [(item.sku, item.title, item.quantity, item.unit_price_minor) for item in invoice.lines] == [
        ("85123a", ' "HEART", white ', 6, 255)
    ] * 2
    assert invoice.total_minor == 3060


def test_rows_of_an_invoice_may_lie_apart_and_have_two_times(read: Reader) -> None:
    file = read.rows(row("1"), row("2", "B"), row("1", "C", at="2010-12-01 08:27:00"))
    assert [(invoice.number, [line.sku for line in invoice.lines]) for invoice in file.invoices] == [
        ("1", ["85123A", "C"]),
        ("2", ["B"]),
    ]


@pytest.mark.parametrize(
    ("cell", "customer_id"),
    [("17850.0", "17850"), ("17850", "17850"), ("", "walk-in"), (" 17850.0 ", "17850"), ("x-1.0", "x-1.0")],
)
def test_a_customer_is_an_identity(read: Reader, cell: str, customer_id: str) -> None:
    assert read.rows(row("1", customer=cell)).invoices[0].customer_id == customer_id


def test_other_documents_are_skipped_by_their_number_alone(read: Reader) -> None:
    file = read.rows(
        "A563185,B,Adjust bad debt,1,2011-08-12 14:50:00,11062.06,,United Kingdom",
        "A563186,B,Adjust bad debt,1,2011-08-12 14:51:00,-11062.06,,United Kingdom",
        "A563187,B,Adjust bad debt,nonsense,2011-08-12 14:52:00,-11062.06,,United Kingdom",
    )
    assert (file.invoices, file.skipped, file.rejected) == ([], {"other_document": 3}, [])


def test_a_total_of_zero_is_skipped(read: Reader) -> None:
    file = read.rows(
        row("1", quantity=-5, price="0.0"), row("C2", quantity=1, price=0), row("3"), row("3", quantity=-1)
    )
    assert (file.invoices, file.skipped) == ([], {"zero_total": 3})


def test_only_the_total_decides_not_the_sign_of_a_row(read: Reader) -> None:
    file = read.rows(row("1", quantity=3), row("1", "D", price="-1.00"), row("C2", quantity=-3), row("C2", quantity=1))
    assert [invoice.total_minor for invoice in file.invoices] == [665, -510]


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (row("9", quantity="six"), "Quantity 'six' is not a whole number"),
        (row("9", quantity="1.5"), "Quantity '1.5' is not a whole number"),
        (row("9", quantity="1_000"), "Quantity '1_000' is not a whole number"),
        (row("9", quantity=""), "Quantity '' is not a whole number"),
        (row("9", quantity=0), "Quantity '0' must not be 0"),
        (row("9", quantity=10**16), "Quantity '10000000000000000' is not a whole number within"),
        (row("9", price="2,55"), "the row has 9 fields, the header has 8"),
        (row("9", price="free"), "UnitPrice 'free' is not a decimal number"),
        (row("9", price=""), "UnitPrice '' is not a decimal number"),
        (row("9", price="nan"), "UnitPrice 'nan' is not a decimal number"),
        (row("9", price="1_0"), "UnitPrice '1_0' is not a decimal number"),
        (row("9", price="0.001"), "UnitPrice '0.001' is not a whole number of minor units"),
        (row("9", price="1e16"), "UnitPrice '1e16' is too large"),
        (row("9", quantity=10**9, price="10000000"), "the total"),
        (row("9", quantity=-1), "the total -2.55 GBP is below zero"),
        (row("C9"), "the total 2.55 GBP is above zero"),
        (row("9", sku=""), "StockCode '' has 0 characters"),
        (row("9", sku="X" * 65), "has 65 characters"),
        (row("9", title="X" * 257), "has 257 characters"),
        (row("9", customer="17 850"), "CustomerID '17 850' must be 1 to 64 characters"),
        (row(""), "InvoiceNo '' is empty"),
        ("9,85123A", "the row has 2 fields, the header has 8"),
    ],
)
def test_a_bad_row_rejects_its_invoice_and_no_other(read: Reader, bad: str, says: str) -> None:
    number = bad.split(",")[0]
    file = read.rows(row("1"), bad, row(number, "GOOD", price=0), row("2"))
    assert [invoice.number for invoice in file.invoices] == ["1", "2"]
    (rejection,) = file.rejected
    assert (rejection.invoice, rejection.line) == (number, 3)
    assert says in rejection.reason


def test_a_bad_row_late_in_an_invoice_is_the_one_that_is_named(read: Reader) -> None:
    (rejection,) = read.rows(row("1"), row("2"), row("1", price="x")).rejected
    assert (rejection.invoice, rejection.line) == ("1", 4)


def test_an_invoice_of_two_customers_is_rejected(read: Reader) -> None:
    (rejection,) = read.rows(row("1"), row("1", customer="")).rejected
    assert rejection.line == 3
    assert "17850" in rejection.reason


def test_prices_are_exact_in_the_digits_of_the_currency(read: Reader) -> None:
    assert read.rows(row("1", price="2.550"), currency="BHD").invoices[0].total_minor == 2550
    assert read.rows(row("1", price="255"), currency="JPY").invoices[0].total_minor == 255
    assert "JPY has 0 decimals" in read.rows(row("1", price="2.55"), currency="JPY").rejected[0].reason


def test_a_pound_sign_passes_in_utf8_and_is_rejected_in_latin1(read: Reader) -> None:
    lines = f"{HEADER}\n{row('1', title='Voucher £40.00')}\n{row('2')}\n"
    assert read.data(lines.encode()).invoices[0].lines[0].title == "Voucher £40.00"
    file = read.data(lines.encode("latin-1"))
    assert [invoice.number for invoice in file.invoices] == ["2"]
    (rejection,) = file.rejected
    assert (rejection.invoice, rejection.line) == ("1", 2)
    assert r"Voucher \xa340.00" in rejection.reason
    rejection.reason.encode()  # it can be printed


def test_a_byte_order_mark_and_other_line_ends_change_nothing(read: Reader) -> None:
    plain = f"{HEADER}\n{row('1')}\n\n{row('2')}"
    expected = read.data(plain.encode())
    assert len(expected.invoices) == 2
    assert read.data(b"\xef\xbb\xbf" + plain.replace("\n", "\r\n").encode()) == expected


def test_columns_may_come_in_another_order_and_with_others(read: Reader) -> None:
    data = (
        b"CustomerID,Till,UnitPrice,Quantity,Description,StockCode,InvoiceNo,InvoiceDate,Country\n"
        b"17850.0,7,2.55,6,HEART,85123A,1,2010-12-01,UK\n"
    )
    (invoice,) = read.data(data).invoices
    assert (invoice.number, invoice.customer_id, invoice.total_minor) == ("1", "17850", 1530)


def test_a_gzipped_file_is_read_whatever_it_is_called(read: Reader) -> None:
    data = gzip.compress(f"{HEADER}\n{row('1')}\n".encode())
    assert len(read.data(data, "a.csv.gz").invoices) == len(read.data(data, "a.csv").invoices) == 1


@pytest.mark.parametrize("column", HEADER.split(","))
def test_a_missing_column_is_named(read: Reader, column: str) -> None:
    header = HEADER.replace(column, "Other")
    assert read.refusal(header.encode()).startswith(f"line 1: column {column} is missing")


def test_files_that_can_not_be_trusted_are_refused_with_the_line(read: Reader, tmp_path: Path) -> None:
    rows = "".join(f"{row(str(number))}\n" for number in range(3000))
    packed = gzip.compress(f"{HEADER}\n{rows}".encode())
    assert read.refusal(b"").startswith("line 1: the file is empty")
    assert "the gzip data is truncated" in read.refusal(packed[:-9])
    corrupt = bytearray(packed)
    corrupt[len(packed) // 2] ^= 0xFF
    assert "the gzip data is corrupt" in read.refusal(bytes(corrupt))
    assert read.refusal(HEADER.encode(), "a.csv.gz").startswith("line 1: not a gzip file")
    assert read.refusal(f"{HEADER}\n{row('1')}\n1,\0".encode()).startswith("line 3: a NUL byte")
    assert read.refusal(f'{HEADER}\n{row("1")}\n2,"open\n'.encode()).startswith("line 3: malformed CSV")
    assert read.refusal(f'{HEADER}\n2,"a"b,c\n'.encode()).startswith("line 2: malformed CSV")
    assert read.refusal(f"{HEADER},InvoiceNo\n".encode()).startswith("line 1: column InvoiceNo is there twice")
    with pytest.raises(BadFile, match="No such file"):
        read_invoices(tmp_path / "nowhere.csv", "GBP")
    with pytest.raises(BadFile, match="directory"):
        read_invoices(tmp_path, "GBP")


def test_a_quoted_line_end_counts_as_a_line(read: Reader) -> None:
    (rejection,) = read.rows(row("1", title='"two\nlines"'), row("2", price="x")).rejected
    assert rejection.line == 4
