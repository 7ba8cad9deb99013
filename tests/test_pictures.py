"""Pictures as files and in archives: the same bytes, and the same reader."""

from __future__ import annotations

import os
import zipfile

import pytest

from sam3_angio.pictures import archive_of, copy_pictures, has_picture, pack_pictures, read_picture

#: Content and patient of some pictures.
PICTURES = {f"p{k:010x}-{k % 3:08x}.png": (bytes([k]) * 50, f"p{k // 3:010x}") for k in range(12)}
PATIENTS = {name: patient for name, (_, patient) in PICTURES.items()}


@pytest.fixture
def loose(tmp_path):
    folder = tmp_path / "loose"
    folder.mkdir()
    for name, (content, _) in PICTURES.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def packed(loose, tmp_path):
    copy_pictures(sorted(loose.iterdir()), tmp_path / "packed")
    pack_pictures(tmp_path / "packed", PATIENTS, 3)
    return tmp_path / "packed"


def test_a_picture_has_the_same_bytes_in_an_archive_and_as_a_file(loose, packed):
    assert all(path.suffix == ".zip" for path in packed.iterdir())
    for name, (content, _) in PICTURES.items():
        assert read_picture(loose / name) == read_picture(packed / name) == content
        assert has_picture(loose / name)
        assert has_picture(packed / name)


def test_the_pictures_of_a_patient_are_in_one_archive_that_others_do_not_change(packed, tmp_path):
    homes = {}
    for name, patient in PATIENTS.items():
        homes.setdefault(patient, set()).add(archive_of(packed / name))
    assert all(len(archives) == 1 for archives in homes.values())
    (archive,) = homes["p0000000000"]
    fewer = tmp_path / "fewer"
    own = {n: p for n, p in PATIENTS.items() if homes[p] == {archive}}
    copy_pictures([packed / name for name in own], fewer)
    assert (fewer / archive.name).read_bytes() == archive.read_bytes()


def test_a_picture_that_is_not_there_is_missing_in_both_forms(loose, packed):
    for folder in (loose, packed, loose / "nowhere"):
        assert not has_picture(folder / "other.png")
        with pytest.raises(FileNotFoundError):
            read_picture(folder / "other.png")


def test_a_damaged_archive_is_an_error_that_names_it(packed):
    name = next(iter(PICTURES))
    archive = archive_of(packed / name)
    content = bytearray(archive.read_bytes())
    content[content.find(PICTURES[name][0]) + 3] ^= 1
    archive.write_bytes(content)
    os.utime(archive, (1, 1))
    with pytest.raises(OSError, match=f"{archive.name}, {name}: Bad CRC-32"):
        read_picture(packed / name)


def test_an_archive_that_was_replaced_is_read_anew(packed):
    name = next(iter(PICTURES))
    read_picture(packed / name)
    archive = archive_of(packed / name)
    with zipfile.ZipFile(archive, "w") as changed:
        changed.writestr(name, b"another picture, of another length")
    assert read_picture(packed / name) == b"another picture, of another length"
