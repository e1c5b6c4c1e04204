"""Initial weights as mmengine draws them, in which the authors' heads are configured; biases begin at zero."""

from torch import nn
from torch.nn import init

LAYERS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def normal(module: nn.Module, std: float) -> None:
    """Draw the weights of all layers of a module from a normal distribution (mmengine's NormalInit)."""
    for layer in _layers(module):
        init.normal_(layer.weight, std=std)


def kaiming(module: nn.Module) -> None:
    """Draw from a normal distribution with variance 2 / fan-out (mmengine's KaimingInit, as mmcv's ConvModule does)."""
    for layer in _layers(module):
        init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def caffe2_xavier(module: nn.Module) -> None:
    """Draw from a uniform distribution with variance 1 / fan-in (mmengine's Caffe2XavierInit)."""
    for layer in _layers(module):
        init.kaiming_uniform_(layer.weight, a=1)


def xavier(module: nn.Module) -> None:
    """Draw from a uniform distribution with variance 2 / (fan-in + fan-out) (mmengine's XavierInit)."""
    for layer in _layers(module):
        init.xavier_uniform_(layer.weight)


def _layers(module: nn.Module) -> list[nn.Conv2d | nn.ConvTranspose2d | nn.Linear]:
    layers = [layer for layer in module.modules() if isinstance(layer, LAYERS)]
    for layer in layers:
        if layer.bias is not None:
            init.zeros_(layer.bias)
    return layers
