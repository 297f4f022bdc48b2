"""`perturbed_grad` wraps any callable, and its errors say what is wrong."""

import copy
import pickle

import numpy as np
import pytest
import torch
from routes import GRAPH, argmin_one_hot, cost_gradient, costs_and_gradient

from diffcomb import Blackbox, Fixed, LiftedMWC, LogGrid, LogUniform, Uniform, multicut, mwc
from diffcomb import perturbed_grad as pg

pytestmark = pytest.mark.nojit


class TestCallables:
    """Callables with several costs, auxiliary outputs, keyword data, batches, and all kinds of arrays."""

    def test_decorator_works_with_and_without_options(self):
        @pg
        def bare(costs):
            return argmin_one_hot(costs)

        @pg(estimator=Blackbox(lambdas=2.0))
        def with_options(costs):
            """Keep me."""
            return argmin_one_hot(costs)

        assert with_options.__doc__ == "Keep me."
        assert with_options.__name__ == "with_options"
        c = torch.tensor([3.0, 1.0])
        assert bare(c).tolist() == with_options(c).tolist() == [0.0, 1.0]

    def test_solver_may_take_several_costs_and_data_and_return_auxiliary_outputs(self):
        def solver(a, b, *, scale, name):
            return (a < 0) * 1.0, (b < 0) * 1.0, np.array([scale]), {"name": name}

        f = pg(solver, estimator=Blackbox(lambdas=1.0))
        a, b = torch.tensor([-1.0, 2.0], requires_grad=True), torch.tensor([[0.5]], requires_grad=True)
        x, y, scale, info = f(a, b, scale=7, name="me")
        assert (x.tolist(), y.tolist(), scale.tolist(), info) == ([1.0, 0.0], [[0.0]], [7], {"name": "me"})
        assert x.requires_grad
        assert not scale.requires_grad
        (x @ torch.tensor([3.0, 1.0]) - y.sum()).backward()
        assert a.grad.tolist() == [-1.0, 0.0]
        assert b.grad.tolist() == [[1.0]]

    def test_only_costs_that_require_grad_get_a_gradient(self):
        def solver(a, b):
            return (a < 0) * 1.0, (b < 0) * 1.0

        f = pg(solver, estimator=Blackbox(lambdas=1.0))
        a, b = torch.tensor([-1.0], requires_grad=True), torch.tensor([-1.0])
        x, y = f(a, b)
        (x * 5).sum().backward()
        assert a.grad.tolist() == [-1.0]
        assert b.grad is None
        a, b = torch.tensor([-1.0], requires_grad=True), torch.tensor([-1.0], requires_grad=True)
        x, y = f(a, b)
        y.sum().backward()
        assert a.grad.tolist() == [0.0]

    def test_no_solve_is_made_for_a_zero_gradient(self):
        calls = []

        def solver(c):
            calls.append(1)
            return (c < 0) * 1.0

        c = torch.ones(3, requires_grad=True)
        (pg(solver)(c) * 0).sum().backward()
        assert c.grad.tolist() == [0, 0, 0]
        assert len(calls) == 1

    def test_batch_axis_equals_a_loop_with_and_without_vectorization(self):
        c, g = costs_and_gradient(5, (6, 4), (6, 4))
        estimator = Blackbox(lambdas=(0.5, 3.0))
        loop = torch.stack(
            [cost_gradient(pg(argmin_one_hot, estimator=estimator), [a], [b])[0] for a, b in zip(c, g, strict=True)]
        )
        (threaded,) = cost_gradient(pg(argmin_one_hot, estimator=estimator, cost_ndims=1), [c], [g])

        def together(costs):
            assert costs.ndim == 2
            return np.eye(4)[costs.argmin(1)]

        (stacked,) = cost_gradient(pg(together, estimator=estimator, cost_ndims=1, vectorized=True), [c], [g])
        (alone,) = cost_gradient(pg(together, estimator=estimator, cost_ndims=1, vectorized=True), [c[0]], [g[0]])
        assert torch.allclose(loop, threaded)
        assert torch.allclose(loop, stacked)
        assert torch.allclose(loop[0], alone)

    def test_torch_solvers_get_tensors_and_per_instance_data(self):
        def solver(c, *, offset):
            assert isinstance(c, torch.Tensor)
            assert not c.requires_grad
            return (c + offset < 0).float()

        f = pg(solver, arrays="torch", cost_ndims=1, per_instance=["offset"])
        assert f(torch.zeros(2, 3), offset=[-1.0, 1.0]).tolist() == [[1, 1, 1], [0, 0, 0]]
        with pytest.raises(ValueError, match="one item for each of 2"):
            f(torch.zeros(2, 3), offset=[-1.0])
        named = pg(solver, arrays="torch", cost_ndims=np.int64(1), per_instance="offset")
        assert named(torch.zeros(2, 3), offset=[-1.0, 1.0]).tolist() == [[1, 1, 1], [0, 0, 0]]

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
    def test_dtypes_are_kept_and_non_contiguous_costs_are_accepted(self, dtype):
        c = torch.tensor([[-1.0, 2.0], [1.0, -2.0]], dtype=dtype).T.requires_grad_()
        w = pg(lambda c: (c < 0) * 1.0, estimator=Blackbox(lambdas=4.0))(c)
        assert w.dtype == dtype
        w.sum().backward()
        assert c.grad.dtype == dtype
        assert c.grad.tolist() == [[-0.25, 0.0], [0.0, -0.25]]

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
    def test_cuda_costs_get_cuda_gradients(self):
        c = torch.tensor([-1.0, 2.0], device="cuda", requires_grad=True)
        pg(lambda c: (c < 0) * 1.0, estimator=Blackbox(lambdas=4.0))(c).sum().backward()
        assert c.grad.is_cuda
        assert c.grad.tolist() == [-0.25, 0.0]

    def test_numpy_costs_give_numpy_solutions(self):
        w = pg(argmin_one_hot)(np.array([2.0, 1.0]))
        assert isinstance(w, np.ndarray)
        assert w.tolist() == [0.0, 1.0]

    def test_empty_batch_is_accepted(self):
        c = torch.zeros(0, 4, requires_grad=True)
        w = pg(argmin_one_hot, cost_ndims=1)(c)
        w.sum().backward()
        assert w.shape == c.grad.shape == (0, 4)

    def test_no_grad_records_no_graph_and_second_derivatives_are_refused(self):
        c = torch.tensor([1.0, 2.0], requires_grad=True)
        f = pg(argmin_one_hot)
        with torch.no_grad():
            assert not f(c).requires_grad
        (grad,) = torch.autograd.grad((f(c) * c).sum(), c, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            grad.sum().backward()

    def test_solvers_of_this_package_can_be_wrapped(self):
        edges = torch.randn(4, GRAPH.num_edges, requires_grad=True)
        y, clusters = pg(multicut)(edges, graph=GRAPH)
        assert (y.shape, clusters.shape) == ((4, 7), (4, 6))
        y.sum().backward()
        x, y, clusters = pg(mwc)(torch.randn(6, 3), torch.randn(7), graph=GRAPH)
        assert (x.sum(1) == 1).all()

    @pytest.mark.parametrize("shape", [(3,), (2, 3)])
    def test_solver_that_changes_its_input_does_no_harm(self, shape):
        def rude(costs):
            costs -= 5
            return (costs < 0) * 1.0

        c = torch.ones(shape, requires_grad=True)
        for vectorized in (False, True):
            pg(rude, cost_ndims=1, vectorized=vectorized)(c).sum().backward()
            assert (c == 1).all()

    def test_changing_an_output_in_place_does_not_change_the_gradient(self):
        f = pg(lambda c: (c < 0) * 1.0, estimator=Blackbox(lambdas=10.0))
        for in_place in (False, True):
            c = torch.tensor([-1.0, 2.0, 3.0], requires_grad=True)
            w = f(c)
            w = w.mul_(2.0) if in_place else w * 2.0
            (w * torch.tensor([1.0, -1.0, 1.0])).sum().backward()
            assert c.grad.tolist() == pytest.approx([-0.1, 0.1, 0.0])

    def test_changing_the_costs_before_backward_is_an_error(self):
        p = torch.tensor([-1.0, 2.0], requires_grad=True)
        c = p * 1
        w = pg(lambda c: (c < 0) * 1.0)(c)
        with torch.no_grad():
            c.mul_(10)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            w.sum().backward()

    def test_solver_with_threads_of_its_own_does_not_deadlock(self):
        from concurrent.futures import ThreadPoolExecutor

        def solver(c):
            with ThreadPoolExecutor(1) as pool:
                batch = np.stack([c, c, c])
                return pool.submit(lambda: multicut([(0, 1), (1, 2), (0, 2)], batch).edge_labels[0]).result()

        assert pg(solver, cost_ndims=1)(torch.randn(12, 3)).shape == (12, 3)

    def test_unusual_arrays_are_accepted_and_text_is_refused(self):
        reverse = pg(lambda c: ((c < 0) * 1.0, np.arange(len(c))[::-1]))
        assert reverse(torch.ones(3))[1].tolist() == [2, 1, 0]
        mixed = pg(lambda c: (c * 0, np.array([1]) if c[0] > 0 else np.array([1.5])), cost_ndims=1)
        assert mixed(torch.tensor([[1.0], [-1.0]]))[1].tolist() == [[1.0], [1.5]]
        costs = np.ones(3, ">f8")
        costs.flags.writeable = False
        assert pg(argmin_one_hot)(costs).tolist() == [1.0, 0.0, 0.0]
        with pytest.raises(TypeError, match="numeric solutions, got dtype"):
            pg(lambda c: np.array(["a", "b"]))(torch.ones(2))

    def test_wrapped_solvers_can_be_copied_and_pickled(self):
        f = pickle.loads(pickle.dumps(copy.deepcopy(pg(multicut, estimator=Blackbox(lambdas=3.0)))))
        assert "Fixed(values=(3.0,))" in repr(f)
        assert f(torch.ones(7), graph=GRAPH)[0].tolist() == [0] * 7


class TestBadInput:
    @pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), [1.0, 0.0]])
    def test_lambda_must_be_positive(self, value):
        with pytest.raises(ValueError, match="λ must be positive"):
            Blackbox(lambdas=value)

    @pytest.mark.parametrize("schedule", [Uniform, LogUniform, LogGrid])
    def test_bad_ranges_of_schedules_are_refused(self, schedule):
        with pytest.raises(ValueError, match="low <= high"):
            schedule(5, 1, 3)
        with pytest.raises(ValueError, match="positive integer"):
            schedule(1, 5, 0)
        with pytest.raises(ValueError, match="λ must be positive"):
            schedule(0, 5, 3)
        with pytest.raises(ValueError, match="at least one"):
            Fixed([])
        with pytest.raises(TypeError, match="lambdas must be a schedule"):
            Blackbox(lambdas="many")

    def test_wrong_shapes_and_values_from_the_solver_are_refused(self):
        c = torch.zeros(3)
        with pytest.raises(ValueError, match=r"shapes of its costs: expected \(3,\) for output 0, got \(2,\)"):
            pg(lambda c: c[:2])(c)
        with pytest.raises(ValueError, match="one solution for each of its 2 costs, got 1"):
            pg(lambda a, b: a)(c, c)
        with pytest.raises(ValueError, match="returned NaN"):
            pg(lambda c: c * np.nan)(c)

    def test_solver_error_says_how_the_solver_was_called(self):
        with pytest.raises(TypeError) as caught:
            pg(torch.sort)(torch.zeros(3))
        assert "numpy arrays of shape (3,)" in caught.value.__notes__[0]

    @pytest.mark.parametrize(
        ("costs", "options", "error", "message"),
        [
            ([], {}, TypeError, "at least one positional"),
            ([torch.zeros(3, dtype=torch.int64)], {}, TypeError, "floating-point"),
            ([[1.0, 2.0]], {}, TypeError, r"instance data such as graph= go by keyword; got \(list\)"),
            ([torch.tensor([1.0, float("nan")])], {}, ValueError, r"costs\[0\] must be finite"),
            ([torch.zeros(2, 3, 4)], {"cost_ndims": 1}, ValueError, "axes, or all one batch axis more"),
            ([torch.zeros(2), torch.zeros(2)], {"cost_ndims": (1, 1, 1)}, ValueError, "takes 3 cost tensor"),
            ([torch.zeros(2, 3), torch.zeros(4, 3)], {"cost_ndims": 1}, ValueError, "same batch size"),
            ([torch.zeros(2), np.zeros(2)], {}, ValueError, "one kind and on one device"),
        ],
    )
    def test_bad_costs_are_refused(self, costs, options, error, message):
        with pytest.raises(error, match=message):
            pg(lambda *c: c, **options)(*costs)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"estimator": 5}, "estimator"),
            ({"arrays": "jax"}, "arrays"),
            ({"generator": 3}, "generator"),
            ({"vectorized": True}, "cost_ndims"),
            ({"vectorized": True, "cost_ndims": 1, "lift": LiftedMWC()}, "lifted"),
            ({"solver": 3}, "callable"),
        ],
    )
    def test_bad_options_are_refused(self, options, message):
        with pytest.raises((TypeError, ValueError), match=message):
            pg(options.pop("solver", argmin_one_hot), **options)

    def test_vectorized_solvers_cannot_be_warm_started(self):
        f = pg(lambda c: (c < 0) * 1.0, cost_ndims=1, vectorized=True, estimator=Blackbox(start="warm"))
        c = torch.ones(2, 3, requires_grad=True)
        with pytest.raises(ValueError, match="start='cold'"):
            f(c).sum().backward()
