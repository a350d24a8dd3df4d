import csv
import json

import pytest

from jmlip.core.errors import JmlipError
from jmlip.training.records import CSV_NAME, JSONL_NAME, Records


@pytest.fixture
def records(tmp_path):
    records = Records(tmp_path, ["epoch", "loss", "force"])
    records.start()
    return records


def rows(directory):
    with (directory / CSV_NAME).open(newline="") as file:
        table = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (directory / JSONL_NAME).read_text().splitlines()]
    return table, lines


def test_both_files_hold_the_same_numbers_exactly(records, tmp_path):
    records.append({"epoch": 1, "loss": 0.1 + 0.2, "force": None})
    records.append({"force": 1e-17, "epoch": 2, "loss": 3.0, "other": 5})
    table, lines = rows(tmp_path)
    assert lines == [{"epoch": 1, "loss": 0.1 + 0.2}, {"epoch": 2, "loss": 3.0, "force": 1e-17}]
    assert table[0] == {"epoch": "1", "loss": "0.30000000000000004", "force": ""}
    assert float(table[1]["force"]) == 1e-17


def test_resuming_cuts_what_came_after_the_checkpoint(records, tmp_path):
    records.append({"epoch": 1, "loss": 1.0})
    sizes = records.sizes()
    records.append({"epoch": 2, "loss": 2.0})
    with (tmp_path / CSV_NAME).open("a") as file:
        file.write("3,4")  # killed in the middle of a line
    records.cut(sizes)
    records.append({"epoch": 2, "loss": 5.0})
    table, lines = rows(tmp_path)
    assert [row["loss"] for row in table] == ["1.0", "5.0"]
    assert [line["epoch"] for line in lines] == [1, 2]


def test_a_lost_file_is_an_error(records, tmp_path):
    records.append({"epoch": 1, "loss": 1.0})
    sizes = records.sizes()
    (tmp_path / CSV_NAME).unlink()
    with pytest.raises(JmlipError, match="put the file back"):
        records.cut(sizes)
