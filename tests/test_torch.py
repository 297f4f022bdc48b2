"""What torch does with solvers beside calling them: compilers, transforms, half precision, second derivatives."""

import numpy as np
import pytest
import torch

from diffcomb import (
    IMLE,
    AsymmetricMultiwayCutLayer,
    Blackbox,
    MulticutLayer,
    PerturbedOptimizer,
    StructuredSVM,
    amwc,
    gradcheck,
    grid_graph,
    lifted_amwc,
    malis_loss,
    multicut,
    perturbed_grad,
    solver_loss,
)

GRID = grid_graph((4, 5))
OFFSETS = [(0, 1), (1, 0)]


def layer_costs(seed=0, batch=2):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 2, 4, 5, generator=rng), torch.randn(batch, 2, 4, 5, generator=rng)


def one_hot(costs):
    return np.eye(len(costs), dtype=costs.dtype)[costs.argmin()]


# Solvers that fail


@pytest.mark.parametrize("parallel", [None, "threads"])
@pytest.mark.parametrize("estimator", [Blackbox([1.0, 2.0, 4.0]), IMLE(2.0, samples=5), PerturbedOptimizer(1.0, 5)])
@pytest.mark.parametrize("failing", [1, 2, 3])
def test_iterator_with_nothing_left_in_a_solver_is_an_error(failing, estimator, parallel):
    calls = []

    def solver(costs):
        calls.append(1)
        return next(iter([])) if len(calls) == failing else one_hot(costs)

    f = perturbed_grad(solver, estimator=estimator, parallel=parallel, generator=torch.Generator().manual_seed(0))
    costs = torch.tensor([0.0, 1.0, 5.0], requires_grad=True)
    with pytest.raises(RuntimeError, match="solver raised StopIteration") as caught:
        (f(costs) * torch.tensor([1.0, 0.0, -0.5])).sum().backward()
    assert any("the solver was called" in note for note in caught.value.__notes__)


# Methods, and solvers in torch


class Model:
    def __init__(self, offset):
        self.offset = offset

    @perturbed_grad(estimator=Blackbox(4.0), cost_ndims=1)
    def cheapest(self, costs):
        return one_hot(costs + self.offset)

    kept = perturbed_grad(one_hot, estimator=Blackbox(4.0))


def test_method_is_bound_to_its_instance_and_a_solver_that_a_class_keeps_is_not():
    costs = torch.tensor([0.0, 1.0, 5.0], requires_grad=True)
    far = Model(np.array([9.0, 0.0, 0.0], np.float32))
    assert far.cheapest(costs).tolist() == [0, 1, 0]
    assert Model(0).cheapest(costs).tolist() == [1, 0, 0]
    assert far.kept(costs).tolist() == [1, 0, 0]
    assert Model.cheapest is Model.__dict__["cheapest"]
    (far.cheapest(costs) @ torch.tensor([0.0, 3.0, 0.0])).backward()
    assert costs.grad.tolist() == [0, -0.25, 0.25]


def test_torch_solver_may_use_autograd():
    def solver(costs: torch.Tensor):
        leaf = torch.zeros_like(costs, requires_grad=True)
        ((leaf - costs) ** 2).sum().backward()
        return torch.eye(len(costs))[(-leaf.grad).argmin()]

    assert perturbed_grad(solver)(torch.tensor([3.0, 1.0, 2.0])).tolist() == [0, 1, 0]


def test_arrays_behind_what_is_no_array_become_tensors():
    def solver(costs):
        return one_hot(costs), "text", np.arange(2), None

    w, text, numbers, none = perturbed_grad(solver)(torch.rand(3))
    assert isinstance(w, torch.Tensor)
    assert (text, none) == ("text", None)
    assert numbers.tolist() == torch.arange(2).tolist()
    assert isinstance(numbers, torch.Tensor)
    assert isinstance(perturbed_grad(solver)(np.random.default_rng(0).random(3))[2], np.ndarray)


# Half precision


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sums_of_half_precision_are_single_precision(dtype):
    """Neither type holds 47 * 45: float16 counts to 2,048 one by one, bfloat16 to 256."""
    layer = AsymmetricMultiwayCutLayer(OFFSETS, [1])
    nodes = torch.zeros(1, 2, 47, 47, dtype=dtype)
    nodes[:, 0] = -1
    segments = torch.zeros(1, 47, 47, dtype=torch.long)
    segments[:, :, :2] = 1
    found = layer(nodes, torch.ones(1, 2, 47, 47, dtype=dtype))
    assert found.overlaps(segments, 2).tolist() == [[[47 * 45, 47 * 2]]]
    multicut_layer = MulticutLayer(OFFSETS)
    found = multicut_layer(torch.ones(1, 2, 47, 47, dtype=dtype))
    assert found.overlaps(segments, 2).tolist() == [[[47 * 45, 47 * 2]]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("batched", [False, True])
def test_losses_of_half_precision_are_single_precision_and_their_gradients_half(dtype, batched):
    graph = grid_graph((200, 200))
    shape = (2, graph.num_edges) if batched else (graph.num_edges,)
    costs = torch.full(shape, -1, dtype=dtype, requires_grad=True)
    loss = solver_loss(multicut, StructuredSVM())(costs, target=torch.zeros(shape), graph=graph)
    assert loss.item() == 2 * graph.num_edges  # a margin and a cost for each edge that is wrongly joined
    loss.backward()
    assert costs.grad.dtype == dtype
    assert costs.grad.isfinite().all()


def test_numpy_arrays_of_half_precision_give_solutions_of_half_precision():
    assert perturbed_grad(one_hot)(np.array([1.0, 2.0], np.float16)).dtype == np.float16


# Compilers


def edge_costs():
    return torch.randn(GRID.num_edges, generator=torch.Generator().manual_seed(1))


TARGET = torch.zeros(GRID.num_edges)
COMPILED = {
    "layer": lambda c: AsymmetricMultiwayCutLayer(OFFSETS, [1])(*(c[:80].view(2, 1, 2, 4, 5)[i] for i in (0, 1))).edges,
    "solver_loss": lambda c: solver_loss(multicut, StructuredSVM())(c[: len(TARGET)], target=TARGET, graph=GRID),
    "malis_loss": lambda c: malis_loss(GRID, c[: len(TARGET)].sigmoid(), np.arange(20) // 5),
}


@pytest.mark.parametrize("name", COMPILED)
def test_compiled_models_break_at_the_solver(name, monkeypatch):
    costs = torch.randn(80, generator=torch.Generator().manual_seed(0))
    function = COMPILED[name]
    expected = function(costs)
    torch._dynamo.reset()
    compiled = torch.compile(lambda c: function(2 * c) + 0, backend="eager")
    torch.testing.assert_close(compiled(costs / 2), expected)
    assert "numpy" not in " ".join(str(key) for key in torch._dynamo.utils.counters["unimplemented"])


# Transforms


def test_multicut_layer_can_be_mapped():
    maps = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    layer = MulticutLayer(OFFSETS, estimator=Blackbox(3.0))
    found = torch.func.vmap(torch.func.grad(lambda a: layer(a[None]).edges.sum()))(maps)
    for one, expected in zip(maps, found, strict=True):
        leaf = one.clone().requires_grad_()
        layer(leaf[None]).edges.sum().backward()
        torch.testing.assert_close(leaf.grad, expected)


def test_losses_and_offsets_take_tensors_inside_of_transforms():
    costs, labels = edge_costs(), torch.arange(20) // 5
    for function in (
        lambda c: malis_loss(GRID, c.sigmoid(), labels),
        lambda c: solver_loss(multicut, StructuredSVM())(c, target=TARGET, graph=GRID),
        lambda c: perturbed_grad(one_hot, estimator=Blackbox(3.0))(c, ptr=torch.tensor([0, 2, len(c)]))[0],
    ):
        leaf = costs.clone().requires_grad_()
        function(leaf).backward()
        torch.testing.assert_close(torch.func.grad(function)(costs), leaf.grad)


def test_mapped_tensors_that_are_no_costs_are_refused_with_a_way_out():
    labels = torch.tensor([[0, 1], [1, 1]])
    with pytest.raises(TypeError, match=r"a tensor that torch\.func\.vmap maps has no values here: give a batch"):
        torch.func.vmap(lambda own: malis_loss([(0, 1)], torch.tensor([0.5]), own))(labels)


# Second derivatives


@pytest.mark.parametrize("output", ["edges", "classes", "panoptic", "overlaps"])
def test_second_derivative_through_a_layer_is_an_error_on_every_path(output):
    layer = AsymmetricMultiwayCutLayer(OFFSETS, [1], estimator=Blackbox(3.0))
    nodes, affinities = (c.requires_grad_() for c in layer_costs())
    found = layer(nodes, affinities)
    maps = found.overlaps(torch.zeros(2, 4, 5, dtype=torch.long), 1) if output == "overlaps" else getattr(found, output)
    weights = affinities.sum() + torch.ones_like(maps)
    (g,) = torch.autograd.grad((maps * weights).sum(), affinities, create_graph=True)
    with pytest.raises(RuntimeError, match="no derivative"):
        torch.autograd.grad(g.pow(2).sum(), affinities)


# Messages


def test_wrong_kinds_of_maps_are_named():
    nodes, affinities = layer_costs()
    layer = AsymmetricMultiwayCutLayer(OFFSETS, [1])
    with pytest.raises(TypeError, match="class_costs must be a tensor as the affinities are, got ndarray"):
        layer(nodes.numpy(), affinities)
    with pytest.raises(ValueError, match=r"affinities must be 2 maps of one shape, got \(2, 4, 5\), \(2, 4, 4\)"):
        layer(nodes, [affinities[:, 0], affinities[:, 1, :, :4]])
    with pytest.raises(ValueError, match="affinities must be 2 maps of one shape, got none"):
        layer(nodes, [])
    with pytest.raises(TypeError, match="lifted cuts need the keyword partitionable="):
        perturbed_grad(lifted_amwc)(
            torch.rand(3, 2), torch.rand(2), torch.rand(1), graph=[(0, 1), (1, 2)], lifted_edges=[(0, 2)]
        )


# The check of gradients


def argmax(costs):
    return np.eye(len(costs))[costs.argmax()]


def second(costs):
    return np.eye(len(costs))[np.argsort(costs)[1]]


def with_prices(costs):
    return np.eye(4)[(costs + np.array([0.5, 0.0, 0.2, 0.9])).argmin()]


@pytest.mark.parametrize(("solver", "most"), [(argmax, 5), (second, 5), (with_prices, 60)])
def test_gradcheck_finds_most_wrong_solvers_with_one_instance(solver, most):
    rng = torch.Generator().manual_seed(0)
    passed = sum(gradcheck(solver, torch.rand(4, generator=rng), raise_exception=False) for _ in range(100))
    assert passed <= most
    assert all(gradcheck(one_hot, torch.rand(4, generator=rng), raise_exception=False) for _ in range(20))


def test_asymmetric_cut_loss_is_compiled_around_the_solver():
    loss = solver_loss(amwc, StructuredSVM())
    nodes, y = torch.randn(20, 2, generator=torch.Generator().manual_seed(2)), edge_costs()
    target = torch.nn.functional.one_hot(torch.arange(20) // 10, 2).float(), torch.zeros(GRID.num_edges)
    target[1][[int(e) for e in np.flatnonzero(GRID.edges[:, 0] // 10 != GRID.edges[:, 1] // 10)]] = 1
    expected = loss(nodes, y, target=target, graph=GRID, partitionable=[1])
    compiled = torch.compile(lambda a, b: loss(a, b, target=target, graph=GRID, partitionable=[1]), backend="eager")
    torch.testing.assert_close(compiled(nodes, y), expected)
