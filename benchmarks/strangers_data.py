"""Small data for the programs of strangers.py, made from the bundled digits or drawn by a seed.

Each function writes into `data`, the folder that a row of the table calls {data}, and into
`home`, the home of the program's process, where Keras looks for what it has downloaded before.
"""

from __future__ import annotations

import gzip
import json
import pathlib
import struct
import wave
import zlib
from collections.abc import Iterable

import numpy as np

SAMPLE = pathlib.Path(__file__).resolve().parent.parent / "mnist_estimator" / "sample"
SEED = 15
Example = dict[str, int | float | bytes | list[int] | list[float] | list[bytes]]


def read_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 28, 28] and labels uint8 [N] of the sample: 1,000 of train, 500 of t10k."""
    images = gzip.decompress((SAMPLE / f"{split}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((SAMPLE / f"{split}-labels-idx1-ubyte.gz").read_bytes())
    count = {"train": 1000, "t10k": 500}[split]
    return (
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28)[:count],
        np.frombuffer(labels, np.uint8, offset=8)[:count],
    )


def mnist_idx(data: pathlib.Path, home: pathlib.Path) -> None:
    """The four IDX files, compressed and not."""
    for split in ("train", "t10k"):
        write_idx(data, split, *read_digits(split))


def mnist_idx_for_validation(data: pathlib.Path, home: pathlib.Path) -> None:
    """The same with 5,000 more to train on, which TensorFlow 1's reader takes for validation."""
    images, labels = (
        np.tile(array, (6,) + (1,) * (array.ndim - 1)) for array in read_digits("train")
    )
    write_idx(data, "train", images, labels)
    write_idx(data, "t10k", *read_digits("t10k"))


def write_idx(data: pathlib.Path, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    """The two IDX files of a split, compressed and not."""
    for array, name in ((images, "images-idx3"), (labels, "labels-idx1")):
        header = struct.pack(f">{1 + array.ndim}I", 0x800 + array.ndim, *array.shape)
        (data / f"{split}-{name}-ubyte").write_bytes(header + array.tobytes())
        with gzip.open(data / f"{split}-{name}-ubyte.gz", "wb", compresslevel=1) as file:
            file.write(header + array.tobytes())


def mnist_keras(data: pathlib.Path, home: pathlib.Path) -> None:
    """The file that keras.datasets.mnist keeps."""
    (x_train, y_train), (x_test, y_test) = read_digits("train"), read_digits("t10k")
    with (keras_folder(home) / "mnist.npz").open("wb") as file:
        np.savez(file, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


def mnist_arrays(data: pathlib.Path, home: pathlib.Path) -> None:
    """Float images [N, 784] and labels of SageMaker's test, each a file."""
    for name, split in (("train", "train"), ("eval", "t10k")):
        images, labels = read_digits(split)
        np.save(data / f"{name}_data.npy", images.reshape(-1, 784).astype(np.float32) / 255)
        np.save(data / f"{name}_labels.npy", labels.astype(np.int32))


def mnist_records(data: pathlib.Path, home: pathlib.Path) -> None:
    """TFRecord files of Cloud TPU's MNIST program: features image_raw and label."""
    for name, split in (("train", "train"), ("validation", "t10k"), ("test", "t10k")):
        examples = (
            {"image_raw": image.tobytes(), "label": int(label)}
            for image, label in zip(*read_digits(split), strict=True)
        )
        write_records(data / f"{name}.tfrecords", examples)


def mnist_tfds(data: pathlib.Path, home: pathlib.Path) -> None:
    """The dataset `mnist` as tensorflow-datasets keeps it once it is downloaded."""
    folder = home / "tensorflow_datasets" / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    splits = []
    for name, split in (("test", "t10k"), ("train", "train")):
        images, labels = read_digits(split)
        examples = [
            {"image": encode_png(image), "label": int(label)}
            for image, label in zip(images, labels, strict=True)
        ]
        file = folder / f"mnist-{name}.tfrecord-00000-of-00001"
        write_records(file, examples)
        splits.append(
            {
                "name": name,
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "numBytes": str(file.stat().st_size),
                "shardLengths": [str(len(examples))],
            }
        )
    info = {
        "name": "mnist",
        "version": "3.0.1",
        "fileFormat": "tfrecord",
        "moduleName": "tensorflow_datasets.image_classification.mnist",
        "splits": splits,
        "supervisedKeys": {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    features = {
        "pythonClassName": "tensorflow_datasets.core.features.features_dict.FeaturesDict",
        "featuresDict": {
            "features": {
                "image": {
                    "pythonClassName": "tensorflow_datasets.core.features.image_feature.Image",
                    "image": {
                        "shape": {"dimensions": ["28", "28", "1"]},
                        "dtype": "uint8",
                        "encodingFormat": "png",
                    },
                },
                "label": {
                    "pythonClassName": (
                        "tensorflow_datasets.core.features.class_label_feature.ClassLabel"
                    ),
                    "classLabel": {"numClasses": "10"},
                },
            }
        },
    }
    (folder / "features.json").write_text(json.dumps(features))
    (folder / "label.labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))


def encode_png(image: np.ndarray) -> bytes:
    """A grey picture, uint8 [height, width], as a PNG file."""
    height, width = image.shape
    rows = b"".join(b"\0" + row.tobytes() for row in image)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def write_records(file: pathlib.Path, examples: Iterable[Example]) -> None:
    """Writes a TFRecord file of tf.train.Example messages, without TensorFlow."""
    with file.open("wb") as output:
        for example in examples:
            body = encode_example(example)
            length = struct.pack("<Q", len(body))
            output.write(length + masked_crc(length) + body + masked_crc(body))


def encode_example(example: Example) -> bytes:
    """The bytes of a tf.train.Example: features of whole numbers, floats, or bytes."""
    entries = []
    for name, value in sorted(example.items()):
        values = value if isinstance(value, list) else [value]
        if isinstance(values[0], bytes):
            feature = field(1, b"".join(field(1, item) for item in values))
        elif isinstance(values[0], float):
            feature = field(2, field(1, struct.pack(f"<{len(values)}f", *values)))
        else:
            feature = field(3, field(1, b"".join(map(varint, values))))
        entries.append(field(1, field(1, name.encode()) + field(2, feature)))
    return field(1, b"".join(entries))


def field(number: int, body: bytes) -> bytes:
    """A field of a protocol buffer that has a length."""
    return varint(number << 3 | 2) + varint(len(body)) + body


def varint(value: int) -> bytes:
    """A number as protocol buffers write it; it is not negative."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def masked_crc(body: bytes) -> bytes:
    """CRC-32C as TFRecord files mask it."""
    crc = 0xFFFFFFFF
    for byte in body:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def crc_table() -> list[int]:
    """CRC-32C of each byte."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


CRC_TABLE = crc_table()


def iris_keras(data: pathlib.Path, home: pathlib.Path) -> None:
    """The files of TensorFlow's iris programs: a line of counts, then four sizes and a class."""
    for folder in (data, keras_folder(home)):
        for name, count, seed in (("training", 120, 1), ("test", 30, 2)):
            rng = np.random.default_rng(seed)
            kinds = rng.integers(0, 3, count)
            sizes = np.array([[5.0, 3.4, 1.5, 0.2], [5.9, 2.8, 4.3, 1.3], [6.6, 3.0, 5.6, 2.0]])
            rows = sizes[kinds] + rng.normal(0, 0.25, (count, 4))
            lines = [f"{count},4,setosa,versicolor,virginica"]
            lines += [
                ",".join(f"{x:.1f}" for x in row) + f",{kind}"
                for row, kind in zip(rows, kinds, strict=True)
            ]
            write_lines(folder / f"iris_{name}.csv", lines)


def heart_keras(data: pathlib.Path, home: pathlib.Path) -> None:
    """heart.csv as TensorFlow keeps it: 13 columns of patients and whether they are ill."""
    rng = np.random.default_rng(SEED)
    header = "age,sex,cp,trestbps,chol,fbs,restecg,thalach,exang,oldpeak,slope,ca,thal,target"
    lines = [header]
    for _ in range(300):
        age, cp, oldpeak = rng.integers(30, 77), rng.integers(0, 5), round(rng.uniform(0, 4), 1)
        thal = ("fixed", "normal", "reversible")[rng.integers(0, 3)]
        ill = int(age / 77 + cp / 5 + oldpeak / 4 + rng.normal(0, 0.3) > 1.7)
        row = (
            *(age, rng.integers(0, 2), cp, rng.integers(94, 200), rng.integers(126, 564)),
            *(rng.integers(0, 2), rng.integers(0, 3), rng.integers(71, 202), rng.integers(0, 2)),
            *(oldpeak, rng.integers(1, 4), rng.integers(0, 4), thal, ill),
        )
        lines.append(",".join(map(str, row)))
    write_lines(keras_folder(home) / "heart.csv", lines)


def census(data: pathlib.Path, home: pathlib.Path) -> None:
    """The two files of the census, cleaned: 15 columns, no header, no spaces."""
    write_census(data, ",")


def census_with_spaces(data: pathlib.Path, home: pathlib.Path) -> None:
    """The same as first published, with a space after each comma."""
    write_census(data, ", ")


def write_census(data: pathlib.Path, separator: str) -> None:
    """Writes adult.data and adult.test."""
    words = {
        "workclass": ("Private", "Self-emp-not-inc", "Local-gov", "State-gov"),
        "education": ("Bachelors", "HS-grad", "11th", "Masters", "Some-college"),
        "marital": ("Married-civ-spouse", "Divorced", "Never-married", "Separated", "Widowed"),
        "occupation": ("Tech-support", "Craft-repair", "Sales", "Exec-managerial", "Adm-clerical"),
        "relationship": ("Wife", "Own-child", "Husband", "Not-in-family", "Unmarried"),
        "race": ("White", "Asian-Pac-Islander", "Other", "Black"),
        "gender": ("Female", "Male"),
        "country": ("United-States", "England", "India", "Mexico"),
    }
    for name, count, seed in (("adult.data", 800, 1), ("adult.test", 300, 2)):
        rng = np.random.default_rng(seed)
        lines = []
        for _ in range(count):
            w = {key: values[rng.integers(0, len(values))] for key, values in words.items()}
            age, years, hours = rng.integers(17, 80), rng.integers(1, 17), rng.integers(10, 80)
            rich = ">50K" if age / 80 + years / 16 + rng.normal(0, 0.2) > 1.3 else "<=50K"
            row = (
                *(age, w["workclass"], rng.integers(20000, 400000), w["education"], years),
                *(w["marital"], w["occupation"], w["relationship"], w["race"], w["gender"]),
                *(rng.integers(0, 5000), rng.integers(0, 1000), hours, w["country"], rich),
            )
            lines.append(separator.join(map(str, row)))
        write_lines(data / name, lines)


def higgs(data: pathlib.Path, home: pathlib.Path) -> None:
    """The array that boosted_trees makes of the HIGGS file: a label and 28 values a row."""
    rng = np.random.default_rng(SEED)
    values = rng.normal(size=(1000, 28))
    labels = (values[:, :3].sum(axis=1) + rng.normal(0, 0.3, 1000) > 0).astype(np.float32)
    rows = np.concatenate([labels[:, None], values], axis=1).astype(np.float32)
    with (data / "HIGGS.csv.gz.npz").open("wb") as file:
        np.savez_compressed(file, data=rows)


WORDS = "the a red blue old new big small cat dog house tree runs sees eats likes and or very not"


def sentences(count: int, seed: int) -> list[str]:
    """Sentences of the few words that the vocabulary has."""
    rng = np.random.default_rng(seed)
    words = WORDS.split()
    return [
        " ".join(words[i] for i in rng.integers(0, len(words), rng.integers(5, 12))) + " ."
        for _ in range(count)
    ]


def bert(data: pathlib.Path, home: pathlib.Path) -> None:
    """A vocabulary, tiny networks, a corpus, and GLUE's CoLA, for BERT and those after it."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *WORDS.split()]
    write_lines(data / "vocab.txt", words)
    size = {
        "vocab_size": len(words),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "max_position_embeddings": 64,
        "type_vocab_size": 2,
        "initializer_range": 0.02,
    }
    (data / "bert_config.json").write_text(json.dumps(size))
    albert = {**size, "embedding_size": 16, "num_hidden_groups": 1, "inner_group_num": 1}
    (data / "albert_config.json").write_text(json.dumps(albert))
    electra = {
        "debug": True,
        "model_size": "small",
        "vocab_size": len(words),
        "max_seq_length": 32,
        "model_hparam_overrides": {
            **{"hidden_size": 32, "num_hidden_layers": 2},
            **{"num_attention_heads": 4, "intermediate_size": 64, "vocab_size": len(words)},
        },
    }
    (data / "electra.json").write_text(json.dumps(electra))
    evaluate = {**electra, "do_train": False, "do_eval": True}
    (data / "electra_evaluate.json").write_text(json.dumps(evaluate))
    (data / "corpus").mkdir()
    text = sentences(120, SEED)
    lines = [line for i, line in enumerate(text) for line in ([line, ""] if i % 6 == 5 else [line])]
    write_lines(data / "corpus.txt", lines)
    write_lines(data / "corpus" / "a.txt", lines)
    (data / "glue" / "CoLA").mkdir(parents=True)
    for name, count, seed in (("train", 160, 1), ("dev", 40, 2)):
        rows = [
            f"s{i}\t{int('cat' in line)}\t\t{line}" for i, line in enumerate(sentences(count, seed))
        ]
        for folder in (data, data / "glue" / "CoLA"):
            write_lines(folder / f"{name}.tsv", rows)


def code_files(data: pathlib.Path, home: pathlib.Path) -> None:
    """Short files of two languages, in the folders that guesslang trains from."""
    texts = {
        "py": "def f{0}(x):\n    return x + {0}\n",
        "c": "int f{0}(int x) {{\n  return x + {0};\n}}\n",
    }
    for split, count in (("train", 40), ("valid", 10), ("test", 4)):
        folder = data / "code" / split
        folder.mkdir(parents=True)
        for kind, text in texts.items():
            for number in range(count):
                (folder / f"f{number}.{kind}").write_text(text.format(number) * 20)


def libsvm(data: pathlib.Path, home: pathlib.Path) -> None:
    """A label and five `feature:value` a line."""
    for name, count, seed in (("tr", 400, 1), ("va", 100, 2), ("te", 100, 3)):
        rng = np.random.default_rng(seed)
        lines = []
        for _ in range(count):
            ids = [40 * field + int(rng.integers(0, 40)) for field in range(5)]
            label = int(ids[0] % 40 + rng.normal(0, 5) > 20)
            lines.append(" ".join([str(label), *(f"{i}:{rng.uniform(0.1, 1):.4f}" for i in ids)]))
        write_lines(data / f"{name}.libsvm", lines)


def keras_folder(home: pathlib.Path) -> pathlib.Path:
    """Where Keras keeps what it has downloaded."""
    folder = home / ".keras" / "datasets"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def write_lines(file: pathlib.Path, lines: Iterable[str]) -> None:
    """Writes a text file."""
    file.write_text("".join(f"{line}\n" for line in lines))


def notebooks(data: pathlib.Path, home: pathlib.Path) -> None:
    """What the notebooks of TensorFlow's documentation load: MNIST and iris."""
    mnist_keras(data, home)
    mnist_tfds(data, home)
    iris_keras(data, home)


def audio(data: pathlib.Path, home: pathlib.Path) -> None:
    """Two songs of noise with their parts, as WAV files, and spleeter's settings for them."""
    rng = np.random.default_rng(SEED)
    rows = ["mix_path,vocals_path,other_path,duration"]
    for song in range(2):
        names = []
        for part in ("mix", "vocals", "other"):
            name = f"song{song}_{part}.wav"
            samples = rng.integers(-20000, 20000, (6 * 44100, 2), dtype=np.int16)
            with wave.open(str(data / name), "wb") as file:
                file.setnchannels(2)
                file.setsampwidth(2)
                file.setframerate(44100)
                file.writeframes(samples.tobytes())
            names.append(name)
        rows.append(",".join([*names, "6"]))
    write_lines(data / "songs.csv", rows)
    settings = {
        "train_csv": str(data / "songs.csv"),
        "validation_csv": str(data / "songs.csv"),
        "model_dir": str(data / "model"),
        "training_cache": str(data / "cache" / "training"),
        "validation_cache": str(data / "cache" / "validation"),
        **{"mix_name": "mix", "instrument_list": ["vocals", "other"], "sample_rate": 44100},
        **{"frame_length": 4096, "frame_step": 1024, "T": 128, "F": 128, "n_channels": 2},
        **{"chunk_duration": 4, "n_chunks_per_song": 1, "separation_exponent": 2},
        **{"mask_extension": "zeros", "learning_rate": 1e-4, "batch_size": 2},
        **{"train_max_steps": 5, "throttle_secs": 20, "save_checkpoints_steps": 100},
        **{"save_summary_steps": 5, "random_seed": 0},
        "model": {
            "type": "unet.unet",
            "params": {"conv_activation": "ELU", "deconv_activation": "ELU"},
        },
    }
    (data / "config.json").write_text(json.dumps(settings))


def easyrec(data: pathlib.Path, home: pathlib.Path) -> None:
    """A DeepFM of EasyRec on two columns of words."""
    for name, count, seed in (("train", 400, 1), ("test", 100, 2)):
        rng = np.random.default_rng(seed)
        lines = []
        for _ in range(count):
            user, item = rng.integers(0, 20), rng.integers(0, 30)
            label = int(user / 20 + item / 30 + rng.normal(0, 0.3) > 1)
            lines.append(f"{label},u{user},i{item}")
        write_lines(data / f"{name}.csv", lines)
    fields = (("label", "INT32"), ("user", "STRING"), ("item", "STRING"))
    inputs = "\n".join(f'  input_fields {{ input_name: "{n}" input_type: {t} }}' for n, t in fields)
    settings = "feature_type: IdFeature embedding_dim: 4 hash_bucket_size: 50"
    ids = "\n".join(f'  features {{ input_names: "{n}" {settings} }}' for n in ("user", "item"))
    names = " ".join(f'feature_names: "{name}"' for name in ("user", "item"))
    (data / "deepfm.config").write_text(
        f"""train_input_path: "{data}/train.csv"
eval_input_path: "{data}/test.csv"
model_dir: "{data}/model"
train_config {{
  optimizer_config {{
    adam_optimizer {{ learning_rate {{ constant_learning_rate {{ learning_rate: 0.01 }} }} }}
  }}
  num_steps: 40
  save_checkpoints_steps: 40
  log_step_count_steps: 10
}}
eval_config {{ metrics_set {{ auc {{}} }} }}
data_config {{
{inputs}
  label_fields: "label"
  batch_size: 20
  num_epochs: 10
  prefetch_size: 4
  input_type: CSVInput
}}
feature_config {{
{ids}
}}
model_config {{
  model_class: "DeepFM"
  feature_groups {{ group_name: "deep" {names} wide_deep: DEEP }}
  feature_groups {{ group_name: "wide" {names} wide_deep: WIDE }}
  deepfm {{ dnn {{ hidden_units: [16, 8] }} final_dnn {{ hidden_units: [8] }} wide_output_dim: 4 }}
}}
"""
    )
