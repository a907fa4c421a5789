"""Small tables of pictures and labels, as they stand in Parquet files."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np

COUNT, CLASSES = 23, 3


def images(shape: tuple[int, ...] = (4, 5)) -> np.ndarray:
    return np.random.default_rng(0).integers(256, size=(COUNT, *shape), dtype=np.uint8)


def labels() -> np.ndarray:
    return np.arange(COUNT) % CLASSES


def png(array: np.ndarray, kind: str = "PNG") -> bytes:
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(array).save(content, kind)
    return content.getvalue()


def hub_table(arrays: np.ndarray, names: object = ("cat", "dog", "emu"), **more):
    """A table as the Hugging Face hub writes it; `more` are other columns."""
    import pyarrow as pa

    pictures = [{"bytes": png(array), "path": f"{n}.png"} for n, array in enumerate(arrays)]
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    notes = json.dumps({"info": {"features": features}})
    columns = {"image": pictures, "label": pa.array(labels()[: len(arrays)], pa.int64())}
    return pa.table(columns | more).replace_schema_metadata({"huggingface": notes})


def write(path: Path, table, **options) -> str:
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, path, **options)
    return str(path)
