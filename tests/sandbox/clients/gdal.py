"""GDAL's /vsioss/, by rasterio, against the stand-in that the environment names."""

import os
import sys

import numpy  # type: ignore[import-not-found]
import rasterio  # type: ignore[import-not-found]
import rasterio.shutil  # type: ignore[import-not-found]

PLACE = f"/vsioss/{os.environ['OSS_BUCKET']}/"
SIZE = 600


def main() -> None:
    local = sys.argv[1]
    size = {"driver": "GTiff", "width": SIZE, "height": SIZE, "count": 1, "dtype": "uint8"}
    with rasterio.open(local, "w", **size) as made:
        made.write(numpy.arange(SIZE * SIZE, dtype="uint32").astype("uint8").reshape(1, SIZE, SIZE))
    with rasterio.open(local) as made:
        expected = made.read().tobytes()
    for key in ("a.tif", "ö b.tif"):
        rasterio.shutil.copyfiles(local, PLACE + key)
        assert rasterio.shutil.exists(PLACE + key)
        with rasterio.open(PLACE + key) as found:
            assert found.read().tobytes() == expected


if __name__ == "__main__":
    main()
