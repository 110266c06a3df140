"""How a detector is made: ready when constructed, its arguments kept, its class known to saved files."""

import inspect

import keras


class Complete(type(keras.Model)):
    """Makes a detector under its own dtype policy, keeps its arguments and builds it: ready when constructed."""

    def __init__(cls, name, bases, namespace, **kwargs):
        super().__init__(name, bases, namespace, **kwargs)
        for parameter in inspect.signature(cls.__init__).parameters.values():
            if parameter.kind is parameter.VAR_POSITIONAL:
                raise ValueError(f"{name}: a saved detector has no place for *{parameter.name}; name its arguments.")
        # Saved files and presets find the class by its name. One of another module keeps a name that it has.
        taken = keras.saving.get_registered_object(f"kerasdet>{name}")
        if taken is None or taken.__module__ == cls.__module__:
            keras.saving.register_keras_serializable("kerasdet")(cls)

    def __call__(cls, *args, **kwargs):
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(kwargs.get("dtype") or before)
        try:
            model = super().__call__(*args, **kwargs)
            model.make_trackers()  # here, because a constructor may choose its `terms` at any place
            signature = inspect.signature(cls.__init__)
            bound = signature.bind(model, *args, **kwargs)
            bound.apply_defaults()
            model.arguments = {}
            for name, value in list(bound.arguments.items())[1:]:
                rest = signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD
                model.arguments.update(value if rest else {name: value})
            model(model.example())
        finally:
            keras.config.set_dtype_policy(before)
        return model
