"""The U-Net: SID's layers, sizes and initial weights."""

import pytest
import torch
from torch.nn import functional

from sidtrain.architectures import NETWORKS, Architecture
from sidtrain.recipe import Recipe
from sidtrain.weights.unet import Unet, architecture_of, build

# What the two reports and SID's published code have, without bias in the transposed convolutions.
COUNTS = {
    "sid": 7_760_268,
    "xtrans": 7_762_203,
    "seed1-ablation": 1_926_028,
    "a1": 3_832_780,
    "a2": 11_687_756,
    "a3": 3_958_156,
    "a4": 975_244,
    "a5": 229_260,
    "a6": 42_636,
    "a7": 102_156,
    "a8": 467_084,
    "a9": 1_926_028,
    "a10": 60,
    "a11": 7_760_268 + 4 * (512 * 512 * 9 + 512),  # two more pairs of 512 to 512
}


def parameters(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def as_in_tensorflow(named: Architecture) -> Architecture:
    return named.model_copy(update={"up_bias": False})


def test_every_network_has_the_parameter_count_of_its_name() -> None:
    """On the meta device: counted, not allocated."""
    with torch.device("meta"):
        counts = {
            name: parameters(build(named.model_copy(update={"up_bias": False}))) for name, named in NETWORKS.items()
        }
    assert counts == COUNTS


@pytest.mark.parametrize(("name", "count"), [("sid", 7_760_748), ("xtrans", 7_762_683), ("a10", 60)])
def test_bias_in_the_transposed_convolutions_is_counted(name: str, count: int) -> None:
    assert parameters(build(NETWORKS[name])) == count


def test_one_more_level_is_the_deeper_network_of_the_canon_6d_report() -> None:
    with torch.device("meta"):
        assert parameters(build(Architecture(levels=6, up_bias=False))) == 31_094_156


def test_the_ablation_of_the_first_report_is_the_ninth_of_the_second() -> None:
    assert NETWORKS["seed1-ablation"] == NETWORKS["a9"]


def test_the_default_recipe_asks_for_sids_network() -> None:
    assert architecture_of(Recipe()) == Architecture() == NETWORKS["sid"]


def test_a_recipe_takes_a_network_by_name_and_changes_single_numbers() -> None:
    assert architecture_of(Recipe(architecture="a4", up_bias=False)) == Architecture(levels=4, middle=0, up_bias=False)
    assert architecture_of(Recipe(architecture="a1", width=8, resolutions=2)) == Architecture(
        convolutions=1, width=8, levels=2
    )


def test_every_part_of_the_architecture_acts() -> None:
    small = Architecture(in_planes=9, sites=3, width=4, levels=3, up_bias=False, negative_slope=0.1)
    model = build(small)
    assert model(torch.zeros(2, 9, 8, 8)).shape == (2, 3, 24, 24)
    assert len(model.down) == 3
    assert all(up.bias is None for up in model.up)
    assert [layer.negative_slope for layer in model.modules() if isinstance(layer, torch.nn.LeakyReLU)] == [0.1] * 10


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (17, 31), (33, 16), (65, 65), (650, 650)])
def test_any_size_goes_in_and_twice_the_size_comes_out(size: tuple[int, int]) -> None:
    output = build(Architecture(width=2))(torch.rand(1, 4, *size))
    assert output.shape == (1, 3, 2 * size[0], 2 * size[1])


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("size", [(1, 1), (13, 7)])
def test_every_network_takes_odd_sizes(name: str, size: tuple[int, int]) -> None:
    small = NETWORKS[name].model_copy(update={"width": 2})
    output = build(small)(torch.rand(1, small.in_planes, *size))
    assert output.shape == (1, 3, small.sites * size[0], small.sites * size[1])


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


@pytest.mark.parametrize(
    "shape",
    [{}, {"convolutions": 1}, {"convolutions": 3}, {"middle": 0}, {"middle": 2}, {"in_planes": 9, "sites": 3}],
    ids=str,
)
def test_the_network_is_what_the_description_says_layer_by_layer(shape: dict[str, int]) -> None:
    torch.manual_seed(1)
    architecture = Architecture(width=3, levels=3, **shape)  # type: ignore[arg-type]
    model = build(architecture)
    planes = torch.rand(1, architecture.in_planes, 11, 6)
    with torch.no_grad():
        assert torch.allclose(model(planes), reference(dict(model.state_dict()), planes, architecture), atol=1e-6)


def test_the_tenth_ablation_is_one_matrix_a_pixel() -> None:
    torch.manual_seed(1)
    model = build(NETWORKS["a10"])
    planes = torch.rand(4, 5, 3)
    pixels = torch.einsum("op,phw->ohw", model.last.weight[:, :, 0, 0], planes) + model.last.bias[:, None, None]
    for color, row, column in ((0, 0, 0), (1, 0, 1), (2, 1, 0)):
        expected = pixels[4 * color + 2 * row + column]
        assert torch.allclose(model(planes[None])[0, color, row::2, column::2], expected, atol=1e-6)


def reference(weights: dict[str, torch.Tensor], planes: torch.Tensor, shape: Architecture) -> torch.Tensor:
    """SID's forward pass for three levels, written out from its description."""

    def block(name: str, x: torch.Tensor, convolutions: int) -> torch.Tensor:
        for layer in range(0, 2 * convolutions, 2):
            x = functional.conv2d(x, weights[f"{name}.{layer}.weight"], weights[f"{name}.{layer}.bias"], padding=1)
            x = torch.maximum(x, 0.2 * x)
        return x

    def pooled(x: torch.Tensor) -> torch.Tensor:
        rows, columns = x.shape[-2] % 2, x.shape[-1] % 2
        return functional.max_pool2d(functional.pad(x, (0, columns, 0, rows), value=-torch.inf), 2)

    def merged(number: int, deep: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        up = functional.conv_transpose2d(deep, weights[f"up.{number}.weight"], weights[f"up.{number}.bias"], stride=2)
        both = torch.cat([up[..., : skip.shape[-2], : skip.shape[-1]], skip], 1)
        return block(f"merge.{number}", both, shape.convolutions)

    one = block("down.0", planes, shape.convolutions)
    two = block("down.1", pooled(one), shape.convolutions)
    three = block("down.2", pooled(two), shape.convolutions * shape.middle)
    last = functional.conv2d(merged(1, merged(0, three, two), one), weights["last.weight"], weights["last.bias"])
    n, _, h, w = last.shape
    s = shape.sites
    return last.reshape(n, 3, s, s, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, 3, s * h, s * w)


def test_initial_weights_are_sids() -> None:
    torch.manual_seed(0)
    model = Unet(Architecture())
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
