"""Tables as Excel, pandas and R write them are read, or the cell is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ankleseg.cohorts import Reference, load_cohort
from ankleseg.errors import CohortError

PLAIN = "subject,image,mask_talus\na,img/a.nii,img/t.nii\n"


@pytest.fixture
def study(touch, tmp_path: Path) -> Path:
    touch("img/a.nii")
    touch("img/t.nii")
    return tmp_path


def loaded(study: Path, text: str | bytes, name: str = "table.csv"):
    (study / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_cohort(study / name)


@pytest.mark.parametrize(
    "text",
    [
        ",subject,image,mask_talus\n0,a,img/a.nii,img/t.nii\n",
        ",subject,image,mask_talus\n17,a,img/a.nii,img/t.nii\n",
        PLAIN.replace("\n", "\r"),
        "sep=,\r" + PLAIN.replace("\n", "\r"),
        "Unnamed: 0,subject,image,mask_talus\n0,a,img/a.nii,img/t.nii\n",
        '"","subject","image","mask_talus"\n"1","a","img/a.nii","img/t.nii"\n',
        "subject;image;mask_talus;;\r\na;img/a.nii;img/t.nii;;\r\n;;;;\r\n",
        "sep=;\r\nsubject;image;mask_talus\r\na;img/a.nii;img/t.nii\r\n",
        '"sep=;"\nsubject;image;mask_talus\na;img/a.nii;img/t.nii\n',
        "sep=\t\nsubject\timage\tmask_talus\na\timg/a.nii\timg/t.nii\n",
        PLAIN.replace(",", "\t"),
        PLAIN.replace("img/", "img\\"),
        PLAIN.replace("subject,image,mask", "Subject,IMAGE,Mask"),
        PLAIN.replace("\na,", '\n"a\n",'),
        PLAIN.replace("img/a.nii", " img/a.nii "),
        PLAIN.replace("talus\na", "talus,\na").replace("t.nii\n", "t.nii,,,\n"),
        PLAIN.encode("utf-16"),
        PLAIN.replace(",", "\t").encode("utf-16"),
        PLAIN.encode("utf-16-le"),
        PLAIN.encode("utf-8-sig"),
    ],
)
def test_a_table_of_a_spreadsheet_is_read(text, study) -> None:
    cohort = loaded(study, text)
    (case,) = cohort.cases
    assert (case.name, case.images, cohort.structures) == ("a", (study / "img/a.nii",), ("talus",))
    assert case.references == {"talus": Reference(study / "img/t.nii")}


def test_a_tsv_with_commas_is_read(study) -> None:
    assert loaded(study, PLAIN, "table.tsv").subjects == ("a",)


def test_the_code_page_of_windows_is_read(study) -> None:
    assert loaded(study, "subject;image;group\na;img/a.nii;témoin\n".encode("cp1252")).groups == ("témoin",)


@pytest.mark.parametrize("value", ["2", "2.0", "2,0", "02", " 2 "])
def test_a_label_value_is_a_whole_number_however_it_is_written(value, study) -> None:
    cohort = loaded(study, f"subject;image;labels;value_talus\na;img/a.nii;img/t.nii;{value}\n")
    assert cohort.cases[0].masks == {study / "img/t.nii": (2,)}


def test_subjects_that_became_numbers_are_names(study) -> None:
    assert loaded(study, "subject,case,image\n1.0,1.0,img/a.nii\n").subjects == ("1",)
    assert loaded(study, "subject,image\n01,img/a.nii\n").subjects == ("01",)


def test_the_home_is_understood(study, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(study))
    assert loaded(study, "subject,image\na,~/img/a.nii\n").cases[0].images == (study / "img/a.nii",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sep=;\nsubject;image\n\na;img/a.nii;x\n", "has 3 cells in row 3 and 2 columns"),
        (
            "subject,image,\na,img/a.nii,x\n",
            "has a column without a name, number 3, with 'x' in row 2; name it, or clear",
        ),
        (",subject,image\nq,a,img/a.nii\n", "has a column without a name, number 1, with 'q' in row 2"),
        (
            "subject,image,labels,value_talus\na,img/a.nii,img/t.nii,1.5\n",
            r"gives a the label value '1.5' for talus \(row 2, column value_talus\); write a whole number",
        ),
        ("subject,image,labels,value_talus\na,img/a.nii,img/t.nii,0\n", "0 is the background"),
        (
            "subject,image\na,C:\\data\\a.nii\n",
            r"gives the path 'C:\\\\data\\\\a.nii', on a drive of Windows; write it as",
        ),
        (b"PK\x03\x04zipped", "cannot be read as a table .it is a workbook, not text.; save it as CSV"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named(text, message, study) -> None:
    with pytest.raises(CohortError, match=message):
        loaded(study, text)


@pytest.mark.parametrize("name", ["table.xlsx", "table.XLS", "table.ods"])
def test_a_workbook_is_refused_with_its_mend(name, study) -> None:
    with pytest.raises(CohortError, match=r"is a workbook .*; save the sheet as CSV \(UTF-8\) and give that file"):
        loaded(study, b"PK\x03\x04", name)


def test_text_of_a_spreadsheet_is_a_table_in_either_order_of_bytes(tmp_path) -> None:
    table = tmp_path / "table.txt"
    (tmp_path / "a.nii.gz").touch()
    for encoding in ("utf-16-be", "utf-16-le"):
        table.write_bytes("subject\timage\na\ta.nii.gz\n".encode(encoding))
        assert [case.name for case in load_cohort(table).cases] == ["a"]
