"""Templates of job files, and the quoting of what goes into them."""

from __future__ import annotations

import pathlib
import string
import unicodedata

import pytest

from mnist_estimator.engines import catalog, rendering

TEMPLATES = pathlib.Path(rendering.__file__).with_name("templates")


def test_a_template_is_filled_or_refused(monkeypatch, tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "x.txt").write_text("$a ${b} $$HOME")
    monkeypatch.setattr(rendering.resources, "files", lambda package: tmp_path)
    assert rendering.render("x.txt", a=1, b="$a") == "1 $a $HOME"
    with pytest.raises(KeyError, match="b"):
        rendering.render("x.txt", a=1)
    with pytest.raises(TypeError, match="x.txt: no placeholder for c"):
        rendering.render("x.txt", a=1, b=2, c=3)


def test_every_template_is_there_and_well_formed():
    paths = [path for path in TEMPLATES.iterdir() if path.is_file()]
    assert {kind.template for kind in catalog.ENGINES.values()} <= {path.name for path in paths}
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert not [m for m in string.Template.pattern.finditer(text) if m["invalid"] is not None]


@pytest.mark.parametrize(
    "value",
    ["a'b\"c", "$x ${y}", "a\nb", "\x85\u2028\ufeff\x7f😀\uffff", "- : #", "null", "1e3", ""],
)
def test_yaml_quoting_gives_the_same_text_back(value):
    yaml = pytest.importorskip("yaml")
    for inner in (value, [value], {value: [value]}):
        assert "\n" not in rendering.yaml_quoted(inner)
        assert yaml.safe_load(rendering.yaml_quoted(inner)) == inner


def odd_texts(length: int = 150) -> list[str]:
    """All characters below U+3000 and others that YAML, shells or terminals take for special."""
    codes = [*range(0x20, 0x3000), 0xD7FF, *range(0xE000, 0xE010), *range(0xFDD0, 0xFE10), 0xFEFF]
    codes += [*range(0xFFF0, 0x10010), 0x1FFFE, 0x1FFFF, *range(0xE0000, 0xE0080), 0x10FFFF]
    text = "".join(map(chr, codes)).replace("$", "")  # Which Kubernetes wants twice.
    return [text[at : at + length] for at in range(0, len(text), length)]


def leaves(node) -> list[str]:
    if isinstance(node, dict):
        return [leaf for value in node.values() for leaf in leaves(value)]
    return [leaf for value in node for leaf in leaves(value)] if isinstance(node, list) else [node]


@pytest.mark.parametrize(
    ("engine", "folder", "options"),
    [
        ("kubeflow", "/data/", {"image": "a", "volume_claim": "c"}),
        ("jobset", "/data/", {"image": "a", "volume_claim": "c"}),
        ("trainjob", "/data/", {"image": "a", "volume_claim": "c"}),
        ("vertex", "gs://b/", {"image": "a", "region": "us-east1", "machine_type": "{}"}),
        (
            "sagemaker",
            "/opt/ml/checkpoints/",
            {"image": "a", "role": "arn:aws:iam::123456789012:role/a", "s3_dir": "s3://b/{}"},
        ),
        (
            "sagemaker",
            "/opt/ml/input/data/shared/",
            {
                "image": "a",
                "role": "arn:aws:iam::123456789012:role/a",
                "s3_dir": "s3://b/{}",
                "file_system": "efs:fs-12345678:/{}",
                "subnets": "a",
                "security_groups": "b",
            },
        ),
    ],
)
def test_every_character_comes_back_from_every_job_file_of_yaml(engine, folder, options):
    yaml = pytest.importorskip("yaml")
    for text in odd_texts():
        plain = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Zl", "Zp"))
        found = {name: value.replace("{}", plain) for name, value in options.items()}
        given = (f"--model_dir={folder}{plain}", "--data_dir=/gcs/b/c")
        job = catalog.make_job(engine, train_flags=given, **found)
        rendered = list(yaml.safe_load_all(job.render()))
        strings = [leaf for leaf in leaves(rendered) if isinstance(leaf, str)]
        assert given[0] in strings
        for name, value in options.items():
            if "{}" in value:
                assert any(plain in string for string in strings), name
