"""The U-Net: SID's layers, sizes and initial weights."""

import pytest
import torch
from torch.nn import functional

from sidtrain.recipe import Recipe
from sidtrain.unet import Architecture, Unet, architecture_of, build


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("bias", "count"), [(True, 7_760_748), (False, 7_760_268)])
def test_the_parameter_count_is_sids(bias: bool, count: int) -> None:
    assert parameters(Unet(bias=bias)) == count


def test_the_default_recipe_asks_for_sids_network() -> None:
    assert architecture_of(Recipe()) == Architecture()
    assert parameters(build(Architecture())) == 7_760_748


def test_every_part_of_the_architecture_acts() -> None:
    small = Architecture(in_planes=9, width=4, levels=3, up_bias=False, negative_slope=0.1)
    model = build(small)
    assert model(torch.zeros(2, 9, 8, 8)).shape == (2, 3, 16, 16)
    assert len(model.down) == 3
    assert all(up.bias is None for up in model.up)
    assert [layer.negative_slope for layer in model.modules() if isinstance(layer, torch.nn.LeakyReLU)] == [0.1] * 10


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 31), (33, 16), (65, 65)])
def test_any_size_goes_in_and_twice_the_size_comes_out(size: tuple[int, int]) -> None:
    output = build(Architecture(width=2))(torch.rand(1, 4, *size))
    assert output.shape == (1, 3, 2 * size[0], 2 * size[1])


def test_pooling_keeps_the_last_row_and_column_of_an_odd_size() -> None:
    """Pooling by floor would make the output independent of the last row of the second level."""
    torch.manual_seed(0)
    model = build(Architecture(width=4, levels=2))
    planes = torch.rand(1, 4, 5, 5)
    deep = []
    model.down[1].register_forward_hook(lambda module, inputs, output: deep.append(inputs[0]))
    model(planes)
    first = model.down[0](planes)
    padded = functional.pad(first, (0, 1, 0, 1), value=-torch.inf)
    assert torch.equal(deep[0], functional.max_pool2d(padded, 2))


def test_the_network_is_what_the_description_says_layer_by_layer() -> None:
    torch.manual_seed(1)
    model = build(Architecture(width=3, levels=3))
    planes = torch.rand(1, 4, 12, 8)
    assert torch.allclose(model(planes), reference(dict(model.state_dict()), planes), atol=1e-6)


def reference(weights: dict[str, torch.Tensor], planes: torch.Tensor) -> torch.Tensor:
    """SID's forward pass for three levels, written out from its description."""

    def double(name: str, x: torch.Tensor) -> torch.Tensor:
        for layer in (0, 2):
            x = functional.conv2d(x, weights[f"{name}.{layer}.weight"], weights[f"{name}.{layer}.bias"], padding=1)
            x = torch.maximum(x, 0.2 * x)
        return x

    def raised(name: str, x: torch.Tensor) -> torch.Tensor:
        return functional.conv_transpose2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], stride=2)

    one = double("down.0", planes)
    two = double("down.1", functional.max_pool2d(one, 2))
    three = double("down.2", functional.max_pool2d(two, 2))
    two = double("merge.0", torch.cat([raised("up.0", three), two], 1))
    one = double("merge.1", torch.cat([raised("up.1", two), one], 1))
    last = functional.conv2d(one, weights["last.weight"], weights["last.bias"])
    n, _, h, w = last.shape
    return last.reshape(n, 3, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, 3, 2 * h, 2 * w)


def test_initial_weights_are_sids() -> None:
    torch.manual_seed(0)
    model = Unet()
    up = model.up[0].weight.detach()
    assert up.abs().max() <= 0.04
    assert abs(float(up.std()) / (0.02 * 0.88) - 1) < 0.01  # a normal cut off at two sigma keeps 0.88 of its width
    conv = model.down[2][0].weight.detach()
    limit = (6 / (9 * (64 + 128))) ** 0.5  # Glorot and Bengio 2010, uniform
    assert 0.99 * limit < float(conv.abs().max()) <= limit
    assert all(float(value.abs().max()) == 0 for name, value in model.state_dict().items() if name.endswith("bias"))


def test_the_same_seed_gives_the_same_weights() -> None:
    models = []
    for _ in range(2):
        torch.manual_seed(5)
        models.append(build(Architecture(width=2)))
    assert all(torch.equal(a, b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))
