"""What tf.io.gfile does in a store, side by side with the local disk."""

from __future__ import annotations

import re

import pytest

from mnist_estimator.compat import tf

gfile = tf.io.gfile


def put(path, text="text"):
    with gfile.GFile(path, "w") as file:
        file.write(text)
    return path


def read(path):
    with gfile.GFile(path) as file:
        return file.read()


def append(path, text):
    with gfile.GFile(path, "a") as file:
        file.write(text)
    return read(path)


def tree(f):
    """Files a.txt, b.txt and d/e/c.txt, and an empty folder."""
    for name in ("a.txt", "b.txt"):
        put(f"{f}/{name}")
    gfile.makedirs(f"{f}/d/e")
    put(f"{f}/d/e/c.txt", "deep")
    gfile.makedirs(f"{f}/empty")


def then(act, look):
    """What `look` gives in a tree after `act`."""

    def call(f):
        tree(f)
        act(f)
        return look(f)

    return call


def moves(f):
    with gfile.GFile(put(f"{f}/x", "one\ntwo\nthree")) as file:
        seen = [file.size(), file.readline(), file.tell(), file.read(2)]
        file.seek(1)
        seen += [file.read(3), file.tell()]
        file.seek(0)
        return [*seen, list(file), file.read(5), file.readline()]


def left_open(f):
    gfile.GFile(f"{f}/x", "w").write("text")
    return read(f"{f}/x")


def flushed(f):
    with gfile.GFile(f"{f}/x", "w") as file:
        file.write("one")
        file.flush()
        seen = read(f"{f}/x")
        file.write("two")
    return seen, read(f"{f}/x")


def everything(f):
    return sorted((a, sorted(b), sorted(c)) for a, b, c in gfile.walk(f))


def glob(pattern):
    return then(lambda f: None, lambda f: sorted(gfile.glob(f"{f}/{pattern}")))


def is_what(name):
    def look(f):
        path = f"{f}/{name}"
        return gfile.exists(path), gfile.isdir(path), gfile.stat(path).is_directory

    return then(lambda f: None, look)


def names(f):
    odd = ["with space", "100%", "a+b", "ä", "q?", "s*", "[x]", "#", "~", "x=1&y"]
    return [read(put(f"{f}/{name}", name)) for name in odd], sorted(gfile.listdir(f)) == sorted(odd)


OPERATIONS = {
    "write and read": lambda f: read(put(f"{f}/x")),
    "nothing written": lambda f: (read(put(f"{f}/x", "")), gfile.stat(f"{f}/x").length),
    "shorter over longer": lambda f: read(put(put(f"{f}/x", "long text"), "short")),
    "not closed": left_open,
    "flush": flushed,
    "odd names": names,
    "append": lambda f: append(put(f"{f}/x", "one"), "two"),
    "append to nothing": lambda f: append(f"{f}/x", "two"),
    "seek, tell, lines": moves,
    "size": lambda f: gfile.stat(put(f"{f}/x", "12345")).length,
    "read nothing": lambda f: read(f"{f}/x"),
    "read a folder": then(lambda f: None, lambda f: read(f"{f}/d")),
    "write over a folder": then(lambda f: None, lambda f: put(f"{f}/d")),
    "write below a file": lambda f: read(put(f"{put(f'{f}/x')}/y")),
    "write in a missing folder": lambda f: read(put(f"{f}/x/y/z")),
    "list": then(lambda f: None, lambda f: sorted(gfile.listdir(f))),
    "list a file": then(lambda f: None, lambda f: gfile.listdir(f"{f}/a.txt")),
    "list nothing": lambda f: gfile.listdir(f"{f}/x"),
    "list an empty folder": then(lambda f: None, lambda f: gfile.listdir(f"{f}/empty")),
    "walk": then(lambda f: None, everything),
    "walk upwards": then(
        lambda f: None,
        lambda f: [a for a, *_ in gfile.walk(f, topdown=False)][-1],
    ),
    "glob *": glob("*"),
    "glob *.txt": glob("*.txt"),
    "glob ?.txt": glob("?.txt"),
    "glob [a-b].txt": glob("[a-b].txt"),
    "glob d/*/c*": glob("d/*/c*"),
    "glob */*": glob("*/*"),
    "glob no match": glob("z*"),
    "glob literal": glob("a.txt"),
    "a file": is_what("a.txt"),
    "a folder": is_what("d"),
    "a folder with a slash": is_what("d/"),
    "an empty folder": is_what("empty"),
    "nothing": is_what("zzz"),
    "below a file": is_what("a.txt/b"),
    "begin of a name": is_what("a.tx"),
    "mkdir twice": lambda f: gfile.mkdir(f),
    "mkdir in a missing folder": lambda f: gfile.mkdir(f"{f}/x/y"),
    "makedirs twice": lambda f: gfile.makedirs(f),
    "makedirs over a file": lambda f: gfile.makedirs(put(f"{f}/x")),
    "remove": then(lambda f: gfile.remove(f"{f}/a.txt"), everything),
    "remove the last in a folder": then(lambda f: gfile.remove(f"{f}/d/e/c.txt"), everything),
    "remove nothing": lambda f: gfile.remove(f"{f}/x"),
    "remove a folder": then(lambda f: gfile.remove(f"{f}/d"), everything),
    "rmtree": then(lambda f: gfile.rmtree(f"{f}/d"), everything),
    "rmtree of nothing": lambda f: gfile.rmtree(f"{f}/x"),
    "rmtree of a file": then(
        lambda f: gfile.rmtree(f"{f}/a.txt"), lambda f: gfile.exists(f"{f}/a.txt")
    ),
    "rename": then(lambda f: gfile.rename(f"{f}/a.txt", f"{f}/z.txt"), everything),
    "rename over": then(lambda f: gfile.rename(f"{f}/a.txt", f"{f}/b.txt"), everything),
    "rename over, agreed": then(
        lambda f: gfile.rename(f"{f}/a.txt", f"{f}/b.txt", overwrite=True), everything
    ),
    "rename nothing": lambda f: gfile.rename(f"{f}/x", f"{f}/y"),
    "rename to a missing folder": then(
        lambda f: gfile.rename(f"{f}/a.txt", f"{f}/x/y"), lambda f: read(f"{f}/x/y")
    ),
    "rename a folder": then(lambda f: gfile.rename(f"{f}/d", f"{f}/z"), everything),
    "rename a folder, agreed": then(
        lambda f: gfile.rename(f"{f}/d", f"{f}/empty", overwrite=True), everything
    ),
    "rename a folder over a full one": then(
        lambda f: (put(f"{f}/empty/x"), gfile.rename(f"{f}/d", f"{f}/empty", overwrite=True)),
        everything,
    ),
    "rename a folder over a file": then(
        lambda f: gfile.rename(f"{f}/d", f"{f}/a.txt", overwrite=True), everything
    ),
    "rename a file over a folder": then(
        lambda f: gfile.rename(f"{f}/a.txt", f"{f}/empty", overwrite=True), everything
    ),
    "rename into itself": then(lambda f: gfile.rename(f"{f}/d", f"{f}/d/e/x"), everything),
    "copy": then(lambda f: gfile.copy(f"{f}/a.txt", f"{f}/z.txt"), everything),
    "copy over": then(lambda f: gfile.copy(f"{f}/a.txt", f"{f}/b.txt"), everything),
    "copy over, agreed": then(
        lambda f: gfile.copy(f"{f}/d/e/c.txt", f"{f}/b.txt", overwrite=True),
        lambda f: read(f"{f}/b.txt"),
    ),
    "copy nothing": lambda f: gfile.copy(f"{f}/x", f"{f}/y"),
    "copy a folder": then(lambda f: gfile.copy(f"{f}/d", f"{f}/y"), everything),
}

# What a store does in place of what the disk does. It has no folders, so none is missing above a
# file, and a file can be where another's folder is.
DIFFERENCES = {
    "write below a file": "FailedPreconditionError -> 'text'",
    "write in a missing folder": "NotFoundError -> 'text'",
    "below a file": "FailedPreconditionError -> NotFoundError",
    "mkdir in a missing folder": "NotFoundError -> None",
    "rename to a missing folder": "NotFoundError -> 'text'",
    # Refused in both, for the same reason.
    "rename a folder over a full one": "FailedPreconditionError -> AlreadyExistsError",
    "copy a folder": "InvalidArgumentError -> FailedPreconditionError",
}


@pytest.mark.parametrize("place", ["memory", "s3"])
def test_a_store_does_what_the_disk_does_but_for_what_is_known(place, tmp_path, bucket):
    url = f"memory://{tmp_path.name}" if place == "memory" else bucket
    differences = {}
    for number, (name, operation) in enumerate(OPERATIONS.items()):
        local = outcome(operation, f"{tmp_path}/{place}{number}")
        remote = outcome(operation, f"{url}/{number}")
        if local != remote:
            differences[name] = f"{local} -> {remote}"
    assert differences == DIFFERENCES


def outcome(operation, folder):
    gfile.makedirs(folder)
    try:
        found = operation(folder)
    except tf.errors.OpError as error:
        return type(error).__name__
    return re.sub(re.escape(folder), "F", repr(found))
