"""ImageNet weights of `keras.applications`, from a download or a file."""

import os
import warnings


def network(application, weights, **options):
    """Builds one of Keras' networks without its classifier, which a file of its weights may hold or not.

    Args:
        application: a function of `keras.applications`.
        weights: None for random numbers, "imagenet" (Keras' download) or the path of a Keras weights file, with or
            without the classifier of 1000 classes.
        options: further arguments of the function.

    Returns:
        A `keras.Model` of pictures of any size.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: one line; the file is of another network.
    """
    download = weights if weights == "imagenet" else None
    bare = application(include_top=False, weights=download, input_shape=(None, None, 3), **options)
    if weights in (None, "imagenet"):
        return bare
    if not os.path.isfile(weights):
        raise FileNotFoundError(f"{weights}: no such weights file.")
    try:
        _load(bare, weights)
    except ValueError:
        whole = application(include_top=True, weights=None, **options)
        _load(whole, weights)
        bare.set_weights(whole.get_weights()[: len(bare.weights)])  # the classifier's come last
    return bare


def _load(model, weights):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a file that does not fit Keras writes a page before it raises
            model.load_weights(weights)
    except (ValueError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{weights}: no weights file of keras.applications' {model.name} ({reason})") from None
