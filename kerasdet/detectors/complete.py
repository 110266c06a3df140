"""How a detector is made: ready when constructed, its arguments kept, its class known to saved files."""

import inspect

import keras

from kerasdet.weights import imagenet, names


class Complete(type(keras.Model)):
    """Makes a detector under its own dtype policy, keeps its arguments and builds it: ready when constructed."""

    def __init__(cls, name, bases, namespace, **kwargs):
        super().__init__(name, bases, namespace, **kwargs)
        for parameter in inspect.signature(_named_constructor(cls)).parameters.values():
            if parameter.kind is parameter.VAR_POSITIONAL:
                raise ValueError(f"{name}: a saved detector has no place for *{parameter.name}; name its arguments.")
        # Saved files and presets find the class by its name. One of another module keeps a name that it has.
        taken = keras.saving.get_registered_object(f"kerasdet>{name}")
        if taken is None or taken.__module__ == cls.__module__:
            keras.saving.register_keras_serializable("kerasdet")(cls)

    @property
    def parameters(cls):
        """Names of the arguments of its constructor and of those that this one passes others on to."""
        own = [
            vars(base)["__init__"] for base in cls.__mro__ if isinstance(base, Complete) and "__init__" in vars(base)
        ]
        return frozenset(name for one in own for name in inspect.signature(one).parameters)

    def takes(cls, argument):
        """Whether the constructor takes an argument of this name."""
        parameters = inspect.signature(_named_constructor(cls)).parameters
        return argument in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())

    def __call__(cls, *args, **kwargs):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(kwargs.get("dtype") or before)
        try:
            model = super().__call__(*args, **kwargs)
            model.make_trackers()  # here, because a constructor may choose its `terms` at any place
            signature = inspect.signature(_named_constructor(cls))
            bound = signature.bind(model, *args, **kwargs)
            bound.apply_defaults()
            model.arguments = {}
            for name, value in list(bound.arguments.items())[1:]:
                rest = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
                model.arguments.update(value if rest else {name: value})
            model.check_settings()
            for path, layer in names.layers(model).items():
                if layer is not model and layer in model.layers:
                    layer.name = path.replace("/", "_")  # `get_layer` and `summary` know it by its attribute
            _run_once(model)
            for layer in names.layers(model).values():
                if getattr(layer, "awaited", None) is not None:
                    imagenet.load(layer, layer.awaited)
        finally:
            keras.config.set_dtype_policy(before)
        model.__dict__["completed"] = True
        return model


def _run_once(model):
    """Makes all weights by detecting once, one object: branches such as masks run on as many regions as the limit."""
    limit = vars(model).get("limit")
    if limit is not None:
        model.limit = 1
    model(model.example())
    if limit is not None:
        model.limit = limit


def _named_constructor(cls):
    """The constructor that names the arguments: not one that passes on whatever it gets, `(self, *args, **kwargs)`."""
    for base in cls.__mro__:
        if "__init__" in vars(base):
            kinds = [one.kind for one in inspect.signature(base.__init__).parameters.values()][1:]
            if kinds != [inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD]:
                return base.__init__
    return cls.__init__
