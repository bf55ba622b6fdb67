"""The bill of materials names all that the image holds, with hashes and licences."""

import copy
import importlib.metadata
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from security import pins, sbom, vendored
from security.pins import Pin
from security.vendored import Library

LIBRARIES = vendored.libraries()
FOLDERS = {"vendored", "_vendor", "vendor", "packages", "third_party", "_vendored"}


@pytest.fixture(scope="module")
def kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sbom.SBOM.read_text())
    return found


def components(bom: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {sbom.normal(each["name"]): each for each in bom["components"]}


def folder_of_packages() -> Path:
    found = importlib.util.find_spec("django")
    assert found and found.origin
    return Path(found.origin).parents[1]


def test_the_bill_has_the_pins_of_the_image_and_of_the_extras(kept: dict[str, Any]) -> None:
    elsewhere = {"tzdata"}  # Windows alone
    for path, scopes in (
        (pins.IMAGE, {"required"}),
        (pins.IMAGE_AND_EXTRAS, {"required", "optional"}),
    ):
        listed = {
            (name, each["version"])
            for name, each in components(kept).items()
            if each["scope"] in scopes
        }
        pinned = {(pin.name, pin.version) for pin in pins.read(path) if pin.name not in elsewhere}
        assert listed == pinned, "run `make sbom`"


def test_each_component_has_its_hashes_and_its_licence(kept: dict[str, Any]) -> None:
    pinned = {pin.name: pin for pin in pins.read(pins.IMAGE_AND_EXTRAS)}
    for name, component in components(kept).items():
        assert component["licenses"], name
        (distribution,) = [each for each in component["externalReferences"] if "hashes" in each]
        hashes = {each["content"] for each in distribution["hashes"]}
        assert hashes == set(pinned[name].sha256), f"{name}: run `make sbom`"


def test_the_bill_has_neither_a_time_nor_a_random_number(kept: dict[str, Any]) -> None:
    assert "serialNumber" not in kept
    assert "timestamp" not in kept["metadata"]


def test_vendored_libraries_are_components_of_their_packages(kept: dict[str, Any]) -> None:
    listed = {
        (name, inner["purl"])
        for name, component in components(kept).items()
        for inner in component.get("components", [])
    }
    assert listed == {(each.inside, each.purl) for each in LIBRARIES}, "run `make sbom`"
    assert ("aliyun-python-sdk-core", "pkg:pypi/requests@2.18.3") in listed
    assert ("aliyun-python-sdk-core", "pkg:pypi/urllib3@1.24.3") in listed


@pytest.mark.parametrize("library", LIBRARIES, ids=str)
def test_the_installed_package_carries_the_library_in_that_version(library: Library) -> None:
    text = (folder_of_packages() / library.file).read_text(encoding="utf-8")
    assert library.says in text, f"correct security/vendored.toml: {library.file}"
    assert library.version in {library.says.split()[-1].strip("v'\""), "2026.7.22"}


def test_no_package_of_the_image_carries_a_library_that_the_list_lacks() -> None:
    known = {library.file.split("/")[0] for library in LIBRARIES}
    root = folder_of_packages()
    unknown = set()
    for pin in pins.read(pins.IMAGE):
        try:
            files = importlib.metadata.files(pin.name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # not for this platform
        unknown |= {
            f"{pin.name}: {Path(*file.parts[:-1])}"
            for file in files
            if FOLDERS & set(file.parts[:-1])
            and not file.parts[0].endswith(".dist-info")
            and file.parts[0] not in known
            and (root / file).exists()
        }
    assert not unknown, "say in security/vendored.toml what they are"


def test_an_installed_package_that_is_not_pinned_is_refused(kept: dict[str, Any]) -> None:
    bom = copy.deepcopy(kept)
    bom["components"].append({"name": "Stray", "version": "1.0"})
    everything = list(pins.read(pins.IMAGE_AND_EXTRAS))
    with pytest.raises(ValueError, match=r"stray 1\.0 is installed, but not pinned"):
        sbom.complete(bom, image=everything, extras=[], libraries=[])


def test_a_library_of_a_package_that_is_gone_is_refused() -> None:
    gone = Library("gone", "six", "1.0", "MIT", "gone/six.py", "1.0")
    bom = {"metadata": {}, "components": [{"name": "here", "version": "1"}]}
    with pytest.raises(ValueError, match="gone"):
        sbom.complete(bom, image=[Pin("here", "1")], extras=[], libraries=[gone])
