"""Losses against targets that are known in part agree with brute force over all solutions and all completions."""

import itertools

import numpy as np
import pytest
import torch
from naive import is_feasible
from routes import GRAPH, argmin_one_hot, costs_and_gradient

from diffcomb import FenchelYoung, LiftedMWC, SPOPlus, StructuredSVM, amwc, solver_loss

SQUARE, THINGS = [(0, 1), (0, 2), (1, 3), (2, 3)], [False, True]
SOLUTIONS = [
    (np.eye(2)[list(x)], np.array(y, float))
    for x in itertools.product(range(2), repeat=4)
    for y in itertools.product((0, 1), repeat=4)
    if is_feasible(4, SQUARE, x, y, THINGS)
]
SEEDS = range(4)


def value_of(nodes, edges, solution):
    return float((np.asarray(nodes) * solution[0]).sum() + (np.asarray(edges) * solution[1]).sum())


def cheapest(nodes, edges):
    """An exact solver of the asymmetric multiway cut of a square: it looks at all solutions."""
    return min(SOLUTIONS, key=lambda s: value_of(nodes, edges, s))


def case(seed):
    """Costs, a target, and masks of labelled nodes and edges."""
    nodes, edges = costs_and_gradient(seed, (4, 2), (4,))
    rng = np.random.default_rng(seed)
    target = SOLUTIONS[rng.integers(len(SOLUTIONS))]
    known = rng.random((4, 1)) < 0.6, rng.random(4) < 0.6
    return (nodes, edges), target, known


def disagree(target, known, s):
    """Hamming distance on labelled entries."""
    return sum(float((np.abs(a - b) * k).sum()) for a, b, k in zip(s, target, known, strict=True))


def expected_svm(costs, target, known, margin, unlabelled):
    if unlabelled == "ignored":
        costs = [c.numpy() * k for c, k in zip(costs, known, strict=True)]
        best = value_of(*costs, target)
    else:
        best = min(value_of(*costs, s) for s in SOLUTIONS if disagree(target, known, s) == 0)
    return max(margin * disagree(target, known, s) - value_of(*costs, s) for s in SOLUTIONS) + best


def spoilt(target, known):
    """The target with nonsense at unlabelled entries, as tensors."""
    return tuple(
        torch.tensor(np.where(k, t, 0.0 if i else 1.0)) for i, (t, k) in enumerate(zip(target, known, strict=True))
    )


def masks(known):
    return tuple(torch.from_numpy(k) for k in known)


LOSSES = [
    StructuredSVM(0.7),
    StructuredSVM(0.7, unlabelled="completed"),
    FenchelYoung(0.5, 3),
    FenchelYoung(0.5, 3, unlabelled="completed"),
]


def evaluate(loss, costs, target, known, **options):
    f = solver_loss(cheapest, loss, generator=torch.Generator().manual_seed(0), **options)
    return f(*costs, target=target, labelled=known)


@pytest.mark.parametrize("unlabelled", ["ignored", "completed"])
@pytest.mark.parametrize("seed", SEEDS)
def test_structured_svm_agrees_with_brute_force(seed, unlabelled):
    costs, target, known = case(seed)
    loss = StructuredSVM(0.7, unlabelled=unlabelled)
    value = evaluate(loss, costs, spoilt(target, known), masks(known))
    assert float(value) == pytest.approx(expected_svm(costs, target, known, 0.7, unlabelled))
    assert float(value) >= -1e-9


@pytest.mark.parametrize("unlabelled", ["ignored", "completed"])
@pytest.mark.parametrize("seed", SEEDS)
def test_fenchel_young_agrees_with_brute_force(seed, unlabelled):
    """The noise of the loss is drawn again from its seed; constant noise makes the expectation a single term."""
    costs, target, known = case(seed)

    class Constant:
        def sample(self, rng, shape):
            return np.arange(np.prod(shape)).reshape(shape) % 3 - 1.0

    noise = [0.5 * Constant().sample(None, c.shape) for c in costs]
    noisy = [c.numpy() + e for c, e in zip(costs, noise, strict=True)]
    if unlabelled == "ignored":
        best = sum(float((c.numpy() * t * k).sum()) for c, t, k in zip(costs, target, known, strict=True))
        noisy = [c * k for c, k in zip(noisy, known, strict=True)]
    else:
        free = [c.numpy() + e * ~k for c, e, k in zip(costs, noise, known, strict=True)]
        best = min(value_of(*free, s) for s in SOLUTIONS if disagree(target, known, s) == 0)
    expected = best - min(value_of(*noisy, s) for s in SOLUTIONS)
    loss = FenchelYoung(0.5, 2, Constant(), unlabelled=unlabelled)
    assert float(evaluate(loss, costs, spoilt(target, known), masks(known))) == pytest.approx(expected)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{type(loss).__name__}-{loss.unlabelled}")
@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_matches_finite_differences(loss, seed):
    costs, target, known = case(seed)
    target, known = spoilt(target, known), masks(known)
    leaves = [c.clone().requires_grad_() for c in costs]
    gradients = torch.autograd.grad(evaluate(loss, leaves, target, known), leaves)
    directions = costs_and_gradient(seed + 9, (4, 2), (4,))
    h = 1e-6
    ahead, behind = (
        float(evaluate(loss, [c + s * h * v for c, v in zip(costs, directions, strict=True)], target, known))
        for s in (1, -1)
    )
    along = sum(float((g * v).sum()) for g, v in zip(gradients, directions, strict=True))
    assert (ahead - behind) / (2 * h) == pytest.approx(along, abs=1e-6)
    free = [g[~k.expand(g.shape)] for g, k in zip(gradients, known, strict=True)]
    if loss.unlabelled == "ignored":
        assert not any(g.any() for g in free)


@pytest.mark.parametrize(("unlabelled", "gradient"), [("ignored", [1, 0, 0, 0]), ("completed", [1, 0, 1, 0])])
def test_completed_targets_train_what_the_labels_imply(unlabelled, gradient):
    """One edge of the square is labelled as cut, so that another one must be: the cheapest of the others."""
    edges = torch.tensor([1.0, 3.0, 2.0, 4.0], dtype=torch.float64, requires_grad=True)
    known = torch.zeros(4, 1, dtype=bool), torch.tensor([True, False, False, False])
    target = torch.zeros(4, 2, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    nodes = torch.tensor([[1.0, 0.0]] * 4, dtype=torch.float64)
    evaluate(StructuredSVM(unlabelled=unlabelled), (nodes, edges), target, known).backward()
    assert edges.grad.tolist() == gradient


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: f"{type(loss).__name__}-{loss.unlabelled}")
def test_mask_of_a_whole_target_changes_nothing(loss):
    costs, target, _ = case(0)
    leaves = [c.clone().requires_grad_() for c in costs]
    whole = tuple(map(torch.from_numpy, target))
    found = []
    for known in (None, (torch.ones(4, 1, dtype=bool), torch.ones(4, dtype=bool)), (None, None)):
        value = evaluate(loss, leaves, whole, known)
        found.append((float(value.detach()), *torch.autograd.grad(value, leaves)))
    for other in found[1:]:
        assert other[0] == pytest.approx(found[0][0], abs=1e-12)
        assert all(torch.equal(a, b) for a, b in zip(other[1:], found[0][1:], strict=True))


@pytest.mark.parametrize("loss", LOSSES[:2], ids=["ignored", "completed"])
def test_batches_and_lists_give_the_losses_of_their_instances(loss):
    cases = [case(seed) for seed in range(3)]
    single = [float(evaluate(loss, c, spoilt(t, k), masks(k))) for c, t, k in cases]
    costs = [list(parts) for parts in zip(*(c for c, *_ in cases), strict=True)]
    targets = [list(parts) for parts in zip(*(spoilt(t, k) for _, t, k in cases), strict=True)]
    known = [list(parts) for parts in zip(*(masks(k) for *_, k in cases), strict=True)]
    options = {"cost_ndims": (2, 1), "reduction": "none"}
    stacked = [[torch.stack(parts) for parts in group] for group in (costs, targets, known)]
    assert evaluate(loss, stacked[0], tuple(stacked[1]), tuple(stacked[2]), **options).tolist() == pytest.approx(single)
    assert evaluate(loss, costs, tuple(targets), tuple(known), **options).tolist() == pytest.approx(single)


@pytest.mark.parametrize("loss", LOSSES[:2], ids=["ignored", "completed"])
def test_solver_that_maximises_gives_the_negative_gradient(loss):
    costs, target, known = case(1)

    def dearest(nodes, edges):
        return cheapest(-nodes, -edges)

    found = []
    for solver, sign, options in ((cheapest, 1, {}), (dearest, -1, {"maximize": True})):
        leaves = [(sign * c).requires_grad_() for c in costs]
        f = solver_loss(solver, loss, **options)
        value = f(*leaves, target=spoilt(target, known), labelled=masks(known))
        found.append([value.detach(), *(sign * g for g in torch.autograd.grad(value, leaves))])
    assert all(torch.allclose(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("lift", [None, LiftedMWC()], ids=["plain", "lifted"])
@pytest.mark.parametrize("unlabelled", ["ignored", "completed"])
def test_cuts_with_and_without_a_lift_train_towards_the_labels(lift, unlabelled):
    nodes, edges, *true = costs_and_gradient(3, (6, 3), (7,), (6, 3), (7,))
    s = amwc(GRAPH, *(t.numpy() for t in true), [1])
    target = torch.eye(3, dtype=torch.float64)[s.node_labels], torch.from_numpy(s.edge_labels.astype(float)), s.clusters
    known = torch.tensor([1, 1, 1, 0, 1, 1], dtype=bool)[:, None], torch.tensor([1, 1, 0, 1, 1, 1, 1], dtype=bool)
    leaves = [t.clone().requires_grad_() for t in (nodes, edges)]
    optimizer = torch.optim.SGD(leaves, 0.2)
    f = solver_loss(amwc, StructuredSVM(0.5, unlabelled=unlabelled), lift=lift)
    values = []
    for _ in range(40):
        optimizer.zero_grad()
        value = f(*leaves, target=target, labelled=known, graph=GRAPH, partitionable=[1])
        value.backward()
        optimizer.step()
        values.append(float(value.detach()))
    assert min(values) >= -1e-9
    # With a lift, exchanging two instances of a class costs nothing, but has a distance: some loss stays.
    assert values[-1] < (0.05 if lift is None else 0.2) * values[0]
    if unlabelled == "ignored":
        assert torch.equal(leaves[0][3].detach(), nodes[3])


def test_bad_masks_are_refused():
    costs, target, known = case(0)
    whole = tuple(map(torch.from_numpy, target))
    c = torch.rand(3)
    with pytest.raises(TypeError, match="SPOPlus takes whole targets only; labelled= is for"):
        solver_loss(argmin_one_hot, SPOPlus())(c, true_costs=c, labelled=c > 0)
    with pytest.raises(ValueError, match="cannot be given with known_costs= or value="):
        solver_loss(argmin_one_hot, StructuredSVM(), known_costs=np.ones(3))(c, target=c, labelled=c > 0)
    with pytest.raises(TypeError, match="labelled must be boolean, True where an entry is known"):
        evaluate(StructuredSVM(), costs, whole, (known[0].astype(int), known[1]))
    with pytest.raises(TypeError, match="labelled must be a tuple with an array"):
        evaluate(StructuredSVM(), costs, whole, known[0])
    with pytest.raises(ValueError, match="labelled must have the shape of the costs"):
        evaluate(StructuredSVM(), costs, whole, (known[0][:3], known[1]))
    with pytest.raises(ValueError, match="unlabelled must be one of 'ignored', 'completed', got 'latent'"):
        StructuredSVM(unlabelled="latent")
    with pytest.raises(ValueError, match="unlabelled must be one of"):
        FenchelYoung(unlabelled="x")
    half = (torch.full((4, 2), 0.5, dtype=torch.float64), whole[1])
    for loss in (StructuredSVM(), FenchelYoung(unlabelled="completed")):
        with pytest.raises(ValueError, match=f"{type(loss).__name__} needs targets of zeros and ones"):
            evaluate(loss, costs, half, (torch.tensor([[True], [False], [False], [False]]), None))
    none = torch.zeros(4, 1, dtype=bool)
    assert np.isfinite(float(evaluate(StructuredSVM(), costs, half, (none, None))))  # where it is not labelled, it may


@pytest.mark.parametrize("void", [[0.0, 0.0], [1.0, 0.0]])
@pytest.mark.parametrize("cluster", [1, 2])
def test_void_node_does_not_decide_the_class_of_its_cluster(void, cluster):
    """The gradient at a labelled node points from the target's class to the one that is found, whatever void says."""
    x, y = torch.tensor([[1.0, 0], [1, 0], [0, 1], void]), torch.tensor([0.0, 1.0, 0.0])
    clusters = np.array([0, 0, 1, cluster])
    n = 0.2 * torch.tensor([[0.0, 1], [0, 1], [1, 0], [0.6, 0.3]]).requires_grad_()
    e = torch.full((3,), 0.1, requires_grad=True)
    loss = solver_loss(amwc, StructuredSVM(), lift=LiftedMWC())
    labelled = torch.tensor([[True], [True], [True], [False]]), torch.tensor([True, True, False])

    def value():
        chain = [(0, 1), (1, 2), (2, 3)]
        return loss(n, e, target=(x, y, clusters), labelled=labelled, graph=chain, partitionable=[0])

    if cluster == 1 and any(void):
        with pytest.raises(
            ValueError, match=r"nodes of a cluster must have one class, .* cluster 1 have class 0 and others 1"
        ):
            value()
        return
    (found,) = torch.autograd.grad(value(), n)
    assert found[2, 1] > 0 > found[2, 0]
    assert found[3].tolist() == [0.0, 0.0]


def test_negative_cluster_ids_of_a_target_are_refused():
    x, y, clusters = torch.eye(2), torch.ones(1), np.array([0, -1])
    loss = solver_loss(amwc, StructuredSVM(), lift=LiftedMWC())
    with pytest.raises(ValueError, match="cluster ids must not be negative, got -1"):
        loss(torch.rand(2, 2), torch.rand(1), target=(x, y, clusters), graph=[(0, 1)], partitionable=[0])
