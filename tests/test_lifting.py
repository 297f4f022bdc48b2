"""The lift: its adjoint, Algorithm 1 line by line, labels and padding."""

import numpy as np
import pytest
import torch
from routes import GRAPH, TRIALS, cost_gradient, costs_and_gradient

from diffcomb import Blackbox, LiftedMWC, amwc, mwc
from diffcomb import perturbed_grad as pg
from diffcomb._sums import norm

pytestmark = pytest.mark.nojit


class TestLift:
    def test_lift_and_project_are_adjoint(self):
        rng = np.random.default_rng(0)
        for classes in ([0, 1, 1, 2, 1], [2, 0], [], [1, -1, 0]):
            lift = LiftedMWC(classes, 3)
            c, z = rng.normal(size=(4, 7, 3)), rng.normal(size=(4, 7, len(classes)))
            assert np.vdot(lift.lift(c), z) == pytest.approx(np.vdot(c, lift.project(z)))
            assert torch.allclose(lift.lift(torch.tensor(c)), torch.tensor(lift.lift(c)))
            assert torch.allclose(lift.project(torch.tensor(z)), torch.tensor(lift.project(z)))

    def test_cost_norm_is_the_norm_of_the_lifted_costs(self):
        rng = np.random.default_rng(0)
        nodes, edges = rng.normal(size=(7, 3)), rng.normal(size=4)
        outputs = np.eye(3)[[0, 1, 1, 2, 0, 1, 1]], np.zeros(4), np.array([0, 1, 2, 3, 0, 1, 2])
        bound = LiftedMWC(spare=1).bind(outputs, {"partitionable": [1]})
        assert len(bound.classes) == 5
        lifted = np.concatenate([c.ravel() for c in bound.costs((nodes, edges))])
        assert bound.cost_norm((nodes, edges)) == pytest.approx(np.linalg.norm(lifted))
        for scale in (1e-30, 1e30):
            assert norm((np.full(9, scale, np.float32),)) == pytest.approx(3 * scale)

    @pytest.mark.parametrize("seed", TRIALS)
    def test_gradient_follows_algorithm_1(self, seed):
        """The wrapped solver agrees with lines 1-5 written down for one λ and fixed labels."""
        P, lam = [1], 2.5
        nodes, edges = costs_and_gradient(seed, (6, 2), (7,))
        s = amwc(GRAPH, nodes, edges, P, solver="exact")
        f = pg(amwc, estimator=Blackbox(lambdas=lam), lift=LiftedMWC())
        data = dict(graph=GRAPH, partitionable=P, solver="exact")
        z, _, clusters, m = f(nodes, edges, **data)
        assert clusters.tolist() == s.clusters.tolist()
        assert m.tolist() == [0] + [1] * (s.num_clusters - int((s.node_labels == 0).any()))
        assert (LiftedMWC(m, 2).project(z).argmax(1) == s.node_labels).all()
        gz, gy = costs_and_gradient(seed + 100, tuple(z.shape), (7,))
        gn, ge = cost_gradient(f, [nodes, edges], [gz, gy], **data)
        lifted = nodes[:, m] + lam * gz
        p = mwc(GRAPH, lifted, edges + lam * gy, solver="exact")
        xp = torch.eye(2, dtype=torch.float64)[m[p.node_labels]]
        x = torch.eye(2, dtype=torch.float64)[s.node_labels]
        assert torch.allclose(gn, (xp - x) / lam)
        assert torch.allclose(ge, (p.edge_labels.double() - s.edge_labels.double()) / lam)

    def test_fixed_map_gives_clusters_the_labels_of_their_class_in_order(self):
        nodes = torch.tensor([[0.0, 9], [9, 0], [9, 0], [0, 9]], dtype=torch.float64)
        edges = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
        path = [(0, 1), (1, 2), (2, 3)]
        f = pg(amwc, lift=LiftedMWC([1, 0, 1, 1], 2))
        z, *_ = f(nodes, edges, graph=path, partitionable=[1])
        assert z.argmax(1).tolist() == [1, 0, 2, 1]
        with pytest.raises(ValueError, match=r"1 label\(s\) of class 1, but the solution has 2"):
            pg(amwc, lift=LiftedMWC([0, 1], 2))(nodes, edges, graph=path, partitionable=[1])

    def test_spare_labels_let_a_new_cluster_open(self):
        # Both nodes lie in one cluster. The gradient drives node 1 out of it, which needs a spare label.
        nodes, edges = torch.tensor([[0.0], [0.0]]), torch.tensor([1.0])
        data = dict(graph=[(0, 1)], partitionable=[0])
        for spare, expected in ((0, 0.0), (1, 0.1)):
            f = pg(amwc, estimator=Blackbox(lambdas=10.0), lift=LiftedMWC(spare=spare))
            gz = torch.zeros(2, 1 + spare)
            gz[1, 0] = 1.0
            gz[0, 1:] = 1.0
            _, ge = cost_gradient(f, [nodes, edges], [gz], **data)
            assert float(ge[0]) == pytest.approx(expected)

    def test_batch_is_padded_and_padding_gets_no_gradient(self):
        nodes, edges = costs_and_gradient(0, (5, 6, 3), (5, 7))
        f = pg(amwc, estimator=Blackbox(lambdas=3.0), lift=LiftedMWC())
        data = dict(graph=GRAPH, partitionable=[1, 2])
        z, _, _, m = f(nodes, edges, **data)
        assert (m == -1).any()
        (gz,) = costs_and_gradient(9, tuple(z.shape))
        gn, ge = cost_gradient(f, [nodes, edges], [gz], **data)
        for b in range(5):
            J = int((m[b] >= 0).sum())
            assert not z[b, :, J:].any()
            one = cost_gradient(f, [nodes[b], edges[b]], [gz[b, :, :J]], **data)
            assert torch.equal(gn[b], one[0])
            assert torch.equal(ge[b], one[1])

    def test_fixed_map_with_padding_is_refused(self):
        with pytest.raises(ValueError, match=r"must not hold padding \(-1\), got \[0, -1, 1\]"):
            pg(mwc, lift=LiftedMWC([0, -1, 1], 2))(torch.zeros(6, 2), torch.zeros(7), graph=GRAPH)

    @pytest.mark.parametrize(
        "bad", [dict(label_classes=[0, 5], num_classes=2), dict(label_classes=[0.5]), dict(spare=-1)]
    )
    def test_bad_maps_are_refused(self, bad):
        with pytest.raises(ValueError, match=r"label_classes|spare"):
            LiftedMWC(**bad)

    def test_wrong_axes_are_refused(self):
        with pytest.raises(ValueError, match="2 classes on the last axis"):
            LiftedMWC([0, 1]).lift(np.zeros((4, 3)))
        with pytest.raises(ValueError, match="2 labels on the last axis"):
            LiftedMWC([0, 1]).project(np.zeros((4, 3)))
        with pytest.raises(ValueError, match="no map yet"):
            LiftedMWC().lift(np.zeros((4, 3)))


def test_infinite_values_of_labels_stay_with_their_class():
    lift, values = LiftedMWC([0, 1, 1]), np.array([[np.inf, 1.0, 2.0]])
    assert lift.project(torch.tensor(values)).tolist() == lift.project(values).tolist() == [[np.inf, 3.0]]


def test_a_target_may_have_any_cluster_ids_that_are_not_negative():
    x, y = np.eye(2)[[0, 1, 1]], np.zeros(2)
    small = LiftedMWC().bind((x, y, np.array([0, 1, 2])), {"partitionable": [1]})
    for ids in (np.array([5, 2**40, 2**41]), np.array([0, 2**63, 2**63 + 1], np.uint64)):
        assert np.array_equal(LiftedMWC().bind((x, y, ids), {"partitionable": [1]}).labels, small.labels)
    with pytest.raises(ValueError, match="must not be negative"):
        LiftedMWC().bind((x, y, np.array([0, -1, 2**40])), {"partitionable": [1]})


def test_maps_are_checked_and_may_be_padding_alone():
    for costs in (np.zeros((3, 0)), torch.zeros(3, 0)):
        assert LiftedMWC([-1, -1]).lift(costs).shape == (3, 2)
    for arguments in (([0, 1], "a"), ([0, 1], 2.5), ([], -3), (np.array([2**64 - 1], np.uint64),), ([[0], [1, 2]],)):
        with pytest.raises(ValueError, match=r"(num|label)_classes must be"):
            LiftedMWC(*arguments)
