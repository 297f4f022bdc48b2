"""Gradients through lifted cuts, with and without the lift of COPS Algorithm 1: closed forms, and what warm starts promise."""

import numpy as np
import pytest
import torch
from lifted_problems import grid_instance
from strategies import noisy_grid

from diffcomb import (
    Blackbox,
    Fixed,
    Graph,
    LiftedAsymmetricMultiwayCutLayer,
    LiftedMWC,
    StructuredSVM,
    grid_graph,
    lifted_amwc,
    lifted_multicut,
    mwc,
    perturbed_grad,
    solver_loss,
)
from diffcomb.lifted_problem import joined_graph


def test_gradient_is_the_difference_of_two_exact_solutions():
    rng = np.random.default_rng(0)
    graph, lifted = grid_graph((2, 3)), Graph(6, [(0, 5), (2, 3), (0, 4)])
    solve = perturbed_grad(lifted_multicut, estimator=Blackbox(Fixed([0.7])))
    for _ in range(10):
        costs, far = (torch.tensor(rng.normal(size=m), requires_grad=True) for m in (graph.num_edges, 3))
        y, f, _ = solve(costs, far, graph=graph, lifted_edges=lifted, solver="exact")
        gy, gf = (torch.tensor(rng.normal(size=len(t))) for t in (y, f))
        torch.autograd.backward([y, f], [gy, gf])
        there = lifted_multicut(
            graph, (costs + 0.7 * gy).detach().numpy(), lifted, (far + 0.7 * gf).detach().numpy(), solver="exact"
        )
        assert costs.grad.numpy() == pytest.approx((there.edge_labels - y.detach().numpy()) / 0.7)
        assert far.grad.numpy() == pytest.approx((there.lifted_labels - f.detach().numpy()) / 0.7)


def test_warm_gradient_points_downhill_and_vanishes_for_small_scales():
    graph, costs, lifted, lifted_costs = grid_instance((8, 8), noise=1.5)
    rng = np.random.default_rng(0)
    gy, gf = rng.normal(size=len(costs)), rng.normal(size=len(lifted_costs))
    for scale, moves in ((1e-9, False), (3.0, True)):
        leaves = [torch.tensor(c, requires_grad=True) for c in (costs, lifted_costs)]
        solve = perturbed_grad(lifted_multicut, estimator=Blackbox(Fixed([scale])))
        y, f, _ = solve(*leaves, graph=graph, lifted_edges=lifted)
        torch.autograd.backward([y, f], [torch.tensor(gy), torch.tensor(gf)])
        product = float(leaves[0].grad @ torch.tensor(gy) + leaves[1].grad @ torch.tensor(gf))
        assert product < 0 if moves else not leaves[0].grad.any() and not leaves[1].grad.any()


def lifted_amwc_tensors(shape=(2, 3), seed=0, far=((0, 2), (1, 2))):
    """Random node, base and lifted costs that want a gradient, and the keywords of the verb."""
    rng = np.random.default_rng(seed)
    graph, lifted = grid_graph(shape), grid_graph(shape, far)
    sizes = (graph.num_nodes, 2), graph.num_edges, lifted.num_edges
    leaves = [torch.tensor(rng.normal(size=size), requires_grad=True) for size in sizes]
    return leaves, {"graph": graph, "lifted_edges": lifted, "partitionable": [1]}, rng


def test_gradient_through_the_lift_is_that_of_a_multiway_cut_of_all_edges():
    solve = perturbed_grad(lifted_amwc, lift=LiftedMWC(), estimator=Blackbox(Fixed([0.7])))
    for seed in range(10):
        leaves, data, rng = lifted_amwc_tensors(seed=seed)
        z, y, f, clusters, classes = solve(*leaves, **data, solver="exact")
        grads = [torch.tensor(rng.normal(size=tuple(w.shape))) for w in (z, y, f)]
        torch.autograd.backward([z, y, f], grads)
        M = LiftedMWC(classes.numpy(), 2)
        nodes = M.lift(leaves[0].detach().numpy()) + 0.7 * grads[0].numpy()
        edges = torch.cat(leaves[1:]).detach().numpy() + 0.7 * torch.cat(grads[1:]).numpy()
        there = mwc(joined_graph(data["graph"], data["lifted_edges"].edges), nodes, edges, solver="exact")
        one_hot = np.eye(len(classes))[there.node_labels]
        assert leaves[0].grad.numpy() == pytest.approx(M.project(one_hot - z.detach().numpy()) / 0.7)
        change = (there.edge_labels - torch.cat([y, f]).detach().numpy()) / 0.7
        assert torch.cat([leaf.grad for leaf in leaves[1:]]).numpy() == pytest.approx(change)
        assert len(classes) == 1 + len(np.unique(clusters[z.argmax(1) > 0]))


def test_warm_gradient_through_the_lift_points_downhill_and_vanishes_for_small_scales():
    for seed in range(8):
        for scale in (1e-9, 2.0):
            leaves, data, rng = lifted_amwc_tensors((8, 8), seed, far=((0, 4), (4, 0)))
            solve = perturbed_grad(lifted_amwc, lift=LiftedMWC(), estimator=Blackbox(Fixed([scale])))
            z, y, f, _, classes = solve(*leaves, **data)
            of_class = torch.tensor(rng.normal(size=(64, 2)))  # one slope a class, so that M^T keeps the product
            grads = [of_class[:, classes], *(torch.tensor(rng.normal(size=len(w))) for w in (y, f))]
            torch.autograd.backward([z, y, f], grads)
            if scale < 1:
                assert not any(leaf.grad.any() for leaf in leaves)
                continue
            products = zip([of_class, *grads[1:]], leaves, strict=True)
            assert sum(float((g * leaf.grad).sum()) for g, leaf in products) < 0


@pytest.mark.parametrize("start", ["warm", "best"])
@pytest.mark.parametrize("options", [{"effort": 2}, {"must_link": [(0, 5)]}, {"solver": "greedy"}])
def test_solves_through_the_lift_start_at_the_clusters_of_the_forward_solution(start, options):
    leaves, data, rng = lifted_amwc_tensors()
    solve = perturbed_grad(lifted_amwc, lift=LiftedMWC(), estimator=Blackbox(Fixed([1.0]), start=start))
    z, _, _, clusters, _ = solve(*leaves, **data, **options)
    (z * torch.tensor(rng.normal(size=tuple(z.shape)))).sum().backward()
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)
    assert "must_link" not in options or clusters[0] == clusters[5]


def test_targets_of_lifted_problems_need_cluster_ids():
    leaves, data, _ = lifted_amwc_tensors()
    x, y, f, clusters = perturbed_grad(lifted_amwc)(*leaves, **data)
    loss = solver_loss(lifted_amwc, StructuredSVM(), lift=LiftedMWC())
    assert torch.isfinite(loss(*leaves, target=(x.detach(), y.detach(), f.detach(), clusters), **data))
    with pytest.raises(ValueError, match=r"integer cluster ids \(n,\) last; got 3 output"):
        loss(*leaves, target=(x.detach(), y.detach(), f.detach()), **data)


def test_warm_and_cold_gradients_through_the_lift_agree_where_classes_decide():
    leaves, data, _rng = lifted_amwc_tensors((6, 6), far=((0, 3),))
    with torch.no_grad():
        leaves[1] *= 0.01
        leaves[2] *= 0.01  # nodes are nearly alone, so that their solutions are unique and moves find them
    found = []
    for effort in (0, 4):  # warm, and with a search at perturbed costs
        solve = perturbed_grad(lifted_amwc, lift=LiftedMWC(), estimator=Blackbox(Fixed([1.5])))
        copies = [leaf.detach().clone().requires_grad_() for leaf in leaves]
        z, *_ = solve(*copies, **data, effort=effort)
        (z[:, 0] * torch.tensor(np.random.default_rng(1).normal(size=36))).sum().backward()
        found.append(copies[0].grad)
    assert found[0].abs().sum() > 0
    assert torch.allclose(*found)


def test_lifted_amwc_has_a_gradient_for_all_three_costs():
    graph, nodes, costs, partitionable = noisy_grid((6, 6), offsets=((0, 1), (1, 0)))
    lifted = grid_graph((6, 6), [(0, 3), (3, 0)])
    rng = np.random.default_rng(0)
    leaves = [torch.tensor(c, requires_grad=True) for c in (nodes, costs, rng.normal(size=lifted.num_edges))]
    solve = perturbed_grad(lifted_amwc, generator=torch.Generator().manual_seed(0))
    x, y, f, z = solve(*leaves, graph=graph, lifted_edges=lifted, partitionable=partitionable)
    assert x.shape == nodes.shape
    assert z.shape == (36,)
    (x.square().sum() + (y * torch.tensor(rng.normal(size=len(y)))).sum() - f.sum()).backward()
    assert all(torch.isfinite(leaf.grad).all() for leaf in leaves)
    assert leaves[2].grad.any()


def test_layer_gives_the_solution_and_the_gradient_of_the_verb():
    leaves, data, rng = lifted_amwc_tensors((6, 7), far=((0, 3), (2, 2)))
    class_costs = leaves[0].detach().T.reshape(1, 2, 6, 7).clone().requires_grad_()
    near = torch.tensor(rng.normal(size=(1, 2, 6, 7)), requires_grad=True)
    far = [torch.tensor(rng.normal(size=(1, 6, 7)), requires_grad=True) for _ in range(2)]
    estimator = Blackbox(Fixed([1.0]))
    layer = LiftedAsymmetricMultiwayCutLayer([(0, 1), (1, 0)], [(0, 3), (2, 2)], [1], estimator=estimator)
    out, lifted_maps = layer(class_costs, near, far)
    weight = torch.tensor(rng.normal(size=(1, 2, 6, 7)))
    ((out.classes * weight).sum() + out.edges.sum() - lifted_maps.sum()).backward()

    edges, lifted = (g.edge_values(c) for g, c in ((data["graph"], near[0]), (data["lifted_edges"], torch.cat(far))))
    mine = [c.detach().clone().requires_grad_() for c in (leaves[0], edges, lifted)]
    solve = perturbed_grad(lifted_amwc, lift=LiftedMWC(), estimator=estimator)
    z, y, f, clusters, classes = solve(*mine, **data)
    x = z @ torch.eye(2, dtype=z.dtype)[classes]
    ((x * weight.flatten(2)[0].T).sum() + y.sum() - f.sum()).backward()
    assert (out.clusters.flatten() == clusters).all()
    assert torch.allclose(class_costs.grad.flatten(2)[0].T, mine[0].grad)
    assert torch.allclose(data["graph"].edge_values(near.grad[0]), mine[1].grad)
    assert torch.allclose(data["lifted_edges"].edge_values(torch.cat([c.grad for c in far])), mine[2].grad)
    assert mine[0].grad.any()
    assert lifted_maps.shape == (1, 2, 6, 7)


def test_layer_of_a_batch_with_spare_labels_takes_panoptic_losses():
    generator = torch.Generator().manual_seed(0)
    class_costs, near, far = (torch.randn(2, c, 8, 9, generator=generator).requires_grad_() for c in (3, 2, 1))
    layer = LiftedAsymmetricMultiwayCutLayer([(0, 1), (1, 0)], [(0, 4)], [1, 2], spare=1, generator=generator)
    out, _ = layer(class_costs, near, far)
    assert (out.label_classes[0] == 1).sum() > 1
    segments = torch.arange(72).view(8, 9).expand(2, 8, 9) // 24
    out.overlaps(segments, 3).square().sum().backward()
    assert all(torch.isfinite(t.grad).all() for t in (class_costs, near, far))
    assert class_costs.grad.any()
    with pytest.raises(ValueError, match="class_costs must have shape"):
        layer(class_costs[:1], near, far)
