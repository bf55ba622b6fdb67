"""The bill of materials of the image: CycloneDX's list of an environment, and what it can't see.

python -m security.sbom LIST

It prints LIST, as `cyclonedx-py environment` writes it, with the hashes of the pins, the extras as
optional, and the vendored libraries as components of their packages.
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from security import pins, vendored
from security.pins import Pin
from security.vendored import Library

SBOM = Path(__file__).with_name("sbom.cdx.json")
_INDEX = "https://pypi.org/simple"

Bom = dict[str, Any]


def complete(bom: Bom, *, image: list[Pin], extras: list[Pin], libraries: Iterable[Library]) -> Bom:
    """The bill of `bom` with hashes, optional extras and vendored libraries; the same for the same.

    Raises ValueError if an installed package is not pinned, or if a package of `libraries` is not
    installed.
    """
    pinned = {(pin.name, pin.version): pin for pin in [*image, *extras]}
    of_image = {pin.name for pin in image}
    inside: dict[str, list[Bom]] = {}
    for library in libraries:
        inside.setdefault(library.inside, []).append(_vendored(library))
    components = []
    for component in bom["components"]:
        name = normal(component["name"])
        pin = pinned.get((name, component["version"]))
        if pin is None:
            raise ValueError(f"{name} {component['version']} is installed, but not pinned")
        added: Bom = {"scope": "required" if name in of_image else "optional"}
        if name in inside:
            added["components"] = sorted(inside.pop(name), key=lambda each: each["name"])
        references = [*component.get("externalReferences", []), _distribution(pin)]
        components.append({**component, **added, "externalReferences": references})
    if inside:
        raise ValueError(f"vendored.toml names packages that are not installed: {sorted(inside)}")
    metadata = {**bom["metadata"], "lifecycles": [{"phase": "build"}]}
    components.sort(key=lambda each: normal(each["name"]))
    return {**bom, "metadata": metadata, "components": components}


def normal(name: str) -> str:
    """A package's name as the pins spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _distribution(pin: Pin) -> Bom:
    return {
        "type": "distribution",
        "url": f"{_INDEX}/{pin.name}/",
        "comment": "the files that the pins allow",
        "hashes": [{"alg": "SHA-256", "content": sha256} for sha256 in sorted(pin.sha256)],
    }


def _vendored(library: Library) -> Bom:
    return {
        "type": "library",
        "bom-ref": f"{library.inside}/{library.name}=={library.version}",
        "name": library.name,
        "version": library.version,
        "purl": library.purl,
        "licenses": [{"license": {"id": library.license, "acknowledgement": "declared"}}],
        "description": f"A copy inside of {library.inside}, in {Path(library.file).parent}",
    }


def main() -> None:
    image = list(pins.read(pins.IMAGE))
    extras = [pin for pin in pins.read(pins.IMAGE_AND_EXTRAS) if pin not in image]
    bom = complete(
        json.loads(Path(sys.argv[1]).read_text()),
        image=image,
        extras=extras,
        libraries=vendored.libraries(),
    )
    json.dump(bom, sys.stdout, indent=1, sort_keys=True, ensure_ascii=False)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
