"""The methods by name: the flags and manifests of runs that are there already have them."""

from mnist_estimator.pictures import methods, preparation


def test_the_names():
    assert methods.PICTURES == (methods.DIGIT, methods.PLAIN) == ("digit", "plain")


def test_each_method_has_a_description():
    assert tuple(preparation.DESCRIPTIONS) == methods.PICTURES
