"""What can go wrong with a model, its runtime, a truth file or a chart, each with a hint for the one on call."""


class InferenceError(Exception):
    """Inference failed."""

    hint = ""

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        """message: by default the class's docstring. hint: how to mend this very case, where the class cannot know."""
        super().__init__(message or (type(self).__doc__ or "").strip())
        if hint:
            self.hint = hint


class ModelError(InferenceError):
    """The model cannot be used."""


class ModelNotFound(ModelError, FileNotFoundError):
    """There is no model file at this path."""

    hint = "Set model.path to an ONNX file, or to a .yaml model file that names one."


class ModelBroken(ModelError, ValueError):
    """The file is no readable ONNX model."""

    hint = "The file was probably cut off in copying: compare its size and checksum with the original, copy it again."


class ModelNotOnnx(ModelError, ValueError):
    """The file is of another kind than ONNX."""

    hint = "Export the model to ONNX, and name the .onnx instead."


class ModelIncomplete(ModelError, FileNotFoundError):
    """The ONNX names data files that are not there, or not whole."""

    hint = "Copy all files of the export into one folder: the .onnx and the data files that it names."


class ModelTooNew(ModelError, ValueError):
    """The ONNX is written in a newer version of the format than this ONNX Runtime reads."""

    hint = "Export it again with an older opset, or upgrade onnxruntime."


class ModelBlind(ModelError, ValueError):
    """The model runs, but what it answers does not depend on the picture, or can never be sure."""

    hint = "Export it again, and try it on pictures in the tool that it was trained with."


class ModelMismatch(ModelError, ValueError):
    """The model, its labels and the pictures do not fit together."""

    hint = "Compare the labels and the size in the model file with what the ONNX declares."


class ModelUnsupported(ModelError, ValueError):
    """The file is an ONNX model, but no image classifier that can be run here."""

    hint = "Export a classification model: one picture in, one row of scores per picture out."


class ModelFileInvalid(ModelError, ValueError):
    """The model file (.yaml beside the ONNX) is not valid."""

    hint = "The model guide in docs/ lists every key of the model file."


class ModelFailed(ModelError, RuntimeError):
    """The model was loaded but failed while it ran."""

    hint = 'On a GPU this is mostly memory or a lost device: see nvidia-smi, or set model.device to "cpu".'


class RuntimeMissing(ModelError, ImportError):
    """ONNX Runtime is not installed."""

    hint = 'Install it with one of the extras: pip install "orwatch[cpu]" (or orwatch[gpu], orwatch[gpu-cu12]).'


class RuntimeConflict(ModelError, ImportError):
    """Two distributions of ONNX Runtime are installed; they overwrite each other's files."""

    hint = "Uninstall both, then install exactly one extra: orwatch[cpu], orwatch[gpu] or orwatch[gpu-cu12]."


class DeviceUnavailable(ModelError, OSError):
    """CUDA was asked for, and the model does not run on it."""

    hint = (
        "Install orwatch[gpu] (CUDA 13) or orwatch[gpu-cu12] and a matching NVIDIA driver, "
        'or set model.device to "auto".'
    )


class TruthInvalid(InferenceError, ValueError):
    """The truth file is not valid."""

    hint = "See docs/ for an example of a truth file."


class ChartsMissing(InferenceError, ImportError):
    """Drawing needs matplotlib, which is not installed."""

    hint = 'Install it with: pip install "orwatch[charts]".'
