"""Mutations: a sign flipped, a factor dropped; the named tests must turn red, or they test nothing.

Each mutation is applied to a copy of the sources, and the tests run on that copy in another process, without
compilation (a compiled copy would cost a quarter of a minute each); as many side by side as there are cores. Such a process
is a fork of one that has imported torch and numba, which takes longer than most of the tests.
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import pytest

ROOT = Path(__file__).parent.parent
FUSED, SUMS = "diffcomb/gradients/fused.py", "diffcomb/_sums.py"
BLACKBOX, LIFTING = "diffcomb/gradients/estimators/blackbox.py", "diffcomb/lifting.py"
GRADIENTS, LOSSES = "diffcomb/gradients/", "diffcomb/losses/"
WARM = "diffcomb/warm_differences.py"
ESTIMATORS_TEST, LOSSES_TEST = "tests/test_estimators.py", "tests/test_losses.py"
RUN, LABELS = "diffcomb/solvers/run.py", "diffcomb/solvers/levels/labels.py"
CONTRACTION, SEARCH = "diffcomb/solvers/levels/contraction.py", "diffcomb/solvers/search.py"
MOVING, VISITS = "diffcomb/solvers/moves/local_moving.py", "diffcomb/solvers/moves/visit.py"
JOINING, PARTITION = "diffcomb/solvers/moves/joining.py", "diffcomb/solvers/levels/partition.py"
OBJECTIVE, SLACK = "diffcomb/solvers/levels/objective.py", "diffcomb/solvers/levels/slack.py"
CONTRACTING, FUSING = "diffcomb/solvers/moves/contracting.py", "diffcomb/solvers/moves/fusing.py"
OVERLAYING, FUSING_TEST = "diffcomb/solvers/moves/overlaying.py", "tests/test_fusing.py"
ANNEALING, ANNEALING_TEST = "diffcomb/solvers/annealing.py", "tests/test_annealing.py"
PERSISTENCY, TABU = "diffcomb/solvers/persistency.py", "diffcomb/solvers/moves/tabu.py"
SEARCH_TEST = "tests/test_multicut_search.py"
CHAINS, PAIRS = "diffcomb/solvers/moves/ejection_chains.py", "diffcomb/solvers/moves/pair_moves.py"
SEGMENTER, CONFIDENCE, VIEWS = (
    f"examples/panoptic_cops/cops/model/{name}.py" for name in ("segmenter", "confidence", "views")
)
PARTS_TEST = "tests/cops/test_parts.py"
NEURITES, MISTAKES = (f"examples/panoptic_cops/cops/scores/{name}.py" for name in ("neurites", "mistakes"))
IMAGES = "examples/panoptic_cops/cops/data/images.py"
NORMALIZE, CHECKS = "examples/panoptic_cops/cops/data/normalize.py", "examples/panoptic_cops/cops/data/checks.py"
SHAPES, CONVERT_TEST = "examples/panoptic_cops/cops/convert/shapes.py", "tests/cops/test_convert.py"
TINY, REDUCTION = "diffcomb/solvers/enumeration.py", "diffcomb/solvers/reduction.py"
TILES, EXTREME_TEST = "examples/panoptic_cops/cops/model/tiles.py", "tests/test_extreme_costs.py"
STEP, CONFIG = "examples/panoptic_cops/cops/step.py", "examples/panoptic_cops/cops/config.py"
SURROGATE, QUALITY = "examples/panoptic_cops/cops/surrogate.py", "examples/panoptic_cops/cops/scores/quality.py"

LIFTED_TEST, LIFTED_GRADIENTS_TEST = "tests/test_lifted_constraints.py", "tests/test_lifted_gradients.py"

MUTATIONS = [
    ("diffcomb/_implicit.py", "sums[at] += sign * weights[t]", "sums[at] -= sign * weights[t]", "tests/test_cut_output.py", "implicit_matrices"),
    (SUMS, "(i * width + labels[i]) % 8", "i % 8", "tests/test_cut_output.py", "implicit_matrices"),
    ("diffcomb/layers.py", "torch.inference_mode(False)", "torch.inference_mode(True)", "tests/test_masked_grids.py", "inference and multicut"),
    ("diffcomb/_matrices.py", "expected += sign *", "expected +=", "tests/test_conversions.py", "modularity"),
    ("diffcomb/cells.py", "[:, 0] - 1", "[:, 0]", "tests/test_masked_grids.py", "rectangle and multicut"),
    ("diffcomb/constraints.py", "self._those(self.costs > 0)", "self._those(self.costs < 0)", LIFTED_TEST, "batches"),
    ("diffcomb/lifted_problem.py", "np.count_nonzero(u != v)", "len(u)", LIFTED_TEST, "connect_nothing"),
    (ANNEALING, "level.improvement(labels, tried) > 0", "level.improvement(labels, tried) < 0", ANNEALING_TEST, "contradict"),
    (ANNEALING, "LIMITS.reheated if self.rounds else 1.0", "1.0", ANNEALING_TEST, "longer"),
    (ANNEALING, "- least >=", ">=", ANNEALING_TEST, "by_hand"),
    (ANNEALING, "if most < len(temperatures):", "if False:", ANNEALING_TEST, "skips"),
    ("diffcomb/solvers/moves/reciprocal.py", "if j > i and best[j] == i:", "if j > i:", "tests/test_agglomeration.py", "one_by_one"),
    ("diffcomb/solvers/colouring.py", "taken[j, k] = True", "pass", "tests/test_colouring.py", "two_colours"),
    ("diffcomb/_arrays.py", "bits[np.uint64(i)] & mask", "bits[np.uint64(i)]", "tests/test_extreme_costs.py", "largest_size"),
    (WARM, "Level(self._costs_at(0.0)).move(labels)", "pass", LIFTED_GRADIENTS_TEST, "warm_gradient_through"),
    ("diffcomb/gradients/parallel.py", "except StopIteration as error", "except GeneratorExit as error", "tests/test_torch.py", "nothing_left"),
    ("diffcomb/gradients/label_outputs.py", "torch.promote_types(self.dtype, torch.float32)", "self.dtype", "tests/test_torch.py", "sums_of_half"),
    ("diffcomb/evaluation.py", "lifted.num_base)", "0)", "tests/test_evaluation.py", "break_the_links"),
    ("diffcomb/blockwise/grids.py", "found[where] = maps[where]", "found[channel] = maps[channel]", "tests/test_blockwise.py", "lead_out"),
    ("diffcomb/differentiable_lifted_cuts.py", "[len(edge_costs)]", "[len(lifted_costs)]", LIFTED_GRADIENTS_TEST, "layer_of_a_batch"),
    (SEGMENTER, "(middle - stride // 2) / stride", "middle / stride", PARTS_TEST, "interpolated"),
    (SEGMENTER, "- d / 2 + (d + 1) // 2", "- d / 2", PARTS_TEST, "interpolated"),
    (FUSED, "(after[i] - before[i])", "(before[i] - after[i])", "tests/test_blackbox.py", "closed_form"),
    (BLACKBOX, "1 / (scale * len(scales))", "1 / len(scales)", "tests/test_blackbox.py", "closed_form"),
    (BLACKBOX, "1 / (scale * len(scales))", "1 / scale", "tests/test_blackbox.py", "mean_over_scales"),
    (FUSED, "cost[i] + scale", "cost[i] - scale", "tests/test_blackbox.py", "closed_form"),
    (GRADIENTS + "differences.py", "reference = int(value.argmin())", "reference = int(value.argmax())", "tests/test_blackbox.py", "uphill"),
    (GRADIENTS + "differences.py", "total = value[rivals] + point.scale", "total = value[rivals] - point.scale", "tests/test_blackbox.py", "uphill"),
    (GRADIENTS + "estimators/central.py", "1 / (2 * scale", "1 / (scale", ESTIMATORS_TEST, "Central"),
    (GRADIENTS + "estimators/lpgd.py", "/ (2 * self.rho)", "/ self.rho", ESTIMATORS_TEST, "LPGD"),
    (GRADIENTS + "estimators/imle.py", "Point(0.0, -sum(", "Point(0.0, sum(", ESTIMATORS_TEST, "same_noise"),
    (GRADIENTS + "estimators/imle.py", "share = self.samples * len(scales)", "share = len(scales)", ESTIMATORS_TEST, "without_noise"),
    (GRADIENTS + "estimators/perturbed_optimizer.py", "value / (S * self.sigma)", "value / S", ESTIMATORS_TEST, "jacobian"),
    (GRADIENTS + "estimators/perturbed_optimizer.py", "values = values - (values.sum()", "values = values + (values.sum()", ESTIMATORS_TEST, "control_variate"),
    (GRADIENTS + "estimators/negative_identity.py", "tuple(-self._pull_back", "tuple(self._pull_back", ESTIMATORS_TEST, "negative_identity"),
    (GRADIENTS + "schedules.py", "self.target - self._nonzeros", "self._nonzeros - self.target", ESTIMATORS_TEST, "both_ways"),
    (GRADIENTS + "call.py", "(g - along *", "(g + along *", ESTIMATORS_TEST, "no_component"),
    (GRADIENTS + "oracle.py", "scales * self.scale", "scales", ESTIMATORS_TEST, "normalising_in_torch"),
    (LOSSES + "fenchel_young.py", "w - e for w, e", "e - w for w, e", LOSSES_TEST, "finite_differences and fenchel"),
    (LOSSES + "spo.py", "2 * (s - p)", "(s - p)", LOSSES_TEST, "finite_differences and spo"),
    (LOSSES + "structured_svm.py", "(c - m)", "(c + m)", LOSSES_TEST, "svm"),
    (LOSSES + "maximin.py", "decided - _of_one_label(", "decided + _of_one_label(", "tests/test_malis.py", "many_components"),
    (LOSSES + "maximin.py", "bits ^ np.uint32(0x7FFFFFFF)", "bits", "tests/test_malis.py", "through_the_background"),
    (LOSSES + "partial.py", "enough * (1 - 2 * w)", "enough * (2 * w - 1)", "tests/test_partial_targets.py", "svm_agrees"),
    (LOSSES + "ranking.py", "(p - q) / self.temperature", "(p - q)", LOSSES_TEST, "finite_differences and listwise"),
    (SUMS, "if SAFE[0] < square < SAFE[1]:", "if True:", "tests/test_norms.py", "vanish"),
    (GRADIENTS + "estimators/negative_identity.py", "-exponents, 0)", "0, 0)", "tests/test_norms.py", "any_magnitude"),
    (GRADIENTS + "oracle.py", "if limit == np.inf:", "if True:", "tests/test_masks.py", "fade"),
    (GRADIENTS + "given.py", "return sign * number - inner", "return number - inner", "tests/test_known.py", "maximises"),
    (GRADIENTS + "oracle.py", "return inner(costs, solutions) + self.known_value(solutions)", "return inner(costs, solutions)", "tests/test_known.py", "not_linear"),
    (LOSSES + "contrastive.py", "(products(others, costs) + known)", "products(others, costs)", "tests/test_known.py", "losses"),
    (GRADIENTS + "calling.py", "costs = tuple(-c for c in costs)", "pass", "tests/test_maximize.py", "closed_form"),
    (GRADIENTS + "call.py", "tuple(0 - part for part in result)", "tuple(0 + part for part in result)", "tests/test_maximize.py", "closed_form"),
    (LOSSES + "solver_loss.py", "pulled = [tuple(0 - part for part in g) for g in pulled]", "pass", "tests/test_maximize.py", "descent"),
    (GRADIENTS + "parallel.py", 'return "threads" if thread_safe else None', 'return "threads"', "tests/test_parallel_solves.py", "calling_thread"),
    (WARM, "max(here - second, 0.0) / slope", "max(here - second, 0.0) * 9 / slope", "tests/test_warm_differences.py", "left_out"),
    (WARM, "- grad_low[i] + reach[i]", "- grad_low[i]", "tests/test_warm_differences.py", "left_out"),
    (WARM, "if now else -weights[s]", "if now else weights[s]", "tests/test_warm_differences.py", "no_worse"),
    (SUMS, "total[i, classes[j]] += rows", "total[i, 0] += rows", "tests/test_lifting.py", "adjoint"),
    (LIFTING, "return self.map.project(gradients[0])", "return -self.map.project(gradients[0])", "tests/test_cut_output.py", "same_bits and cold and dtype0"),
    (LIFTING, "return first.added_columns(", "return -first.added_columns(", "tests/test_lifting.py", "algorithm_1"),
    (MOVING, "else min(-w, 0.0)", "else 0.0", "tests/test_solver_parts.py", "nodes_that_gain"),
    (MOVING, "<= temperature * np.log(u)", "<= -np.inf", "tests/test_solver_parts.py", "annealing"),
    (MOVING, "if queued[j] or (z[j]", "if not queued[j] or (z[j]", "tests/test_multilevel.py", "local_optimum"),
    (MOVING, " and adjacency.weights[h] >= 0)", ")", "tests/test_warm_differences.py", "left_out"),
    (VISITS, "and sums[k] < 0", "and sums[k] < -1e9", "tests/test_multilevel.py", "local_optimum"),
    (SLACK, "return -2 * weight if weight < 0 else 0.0", "return 0.0", "tests/test_naive_twins.py", "local_moving"),
    (SLACK, "reached[i] = total", "pass", "tests/test_naive_twins.py", "local_moving"),
    (CHAINS, "self.tried + last - first", "self.tried", "tests/test_chains.py", "gain_alone"),
    (RUN, "            moves = clusters.level.move(after)", "            moves = 0", "tests/test_multilevel.py", "settling"),
    (LABELS, "if image[new] != old:", "if False:", "tests/test_solver_parts.py", "changed"),
    (CONTRACTION, "] -= at - count", "] -= 0", "tests/test_solver_parts.py", "in_threads"),
    (JOINING, "== part else before[j]", "== part else z[j]", "tests/test_solver_parts.py", "one_by_one"),
    (JOINING, "fence[j] != fence[i]", "False", "tests/test_solver_parts.py", "one_by_one"),
    (PARTITION, "_join_uncut(some", "(some", "tests/test_solver_parts.py", "those_of_scipy"),
    (CONTRACTION, "in sorted(parts):", "in parts:", "tests/test_solver_parts.py", "in_threads"),
    (SLACK, "if known else np.inf", "if known else 0.0", "tests/test_solver_parts.py", "frontier"),
    (CHAINS, "if gain > most:", "if True:", "tests/test_chains.py", "trace"),
    (CHAINS, "cluster_class[a] = trail.classes[last]", "pass", "tests/test_chains.py", "gain_alone"),
    (PAIRS, "own[j] += w if z[j] == z[i] else -w", "own[j] += w", "tests/test_solver_parts.py", "pair_updates"),
    (PAIRS, "(1 if z[j] == old else -1)", "(-1 if z[j] == old else 1)", "tests/test_solver_parts.py", "pair_updates"),
    (LABELS, "left[i] = component[i] != first[c]", "left[i] = 0", "tests/test_multilevel.py", "taken_apart"),
    (SEARCH, "if self.level.improvement(self.labels, labels) > 0:", "if True:", "tests/test_multilevel.py", "effort"),
    (CONTRACTING, "if key < entered[e]:", "if False:", "tests/test_solvers.py", "popped"),
    ("diffcomb/solvers/moves/absorbing.py", "if both != GONE and i < both ^ i:", "if False:", "tests/test_agglomeration.py", "take_turns"),
    ("diffcomb/solvers/moves/absorbing.py", "packed[unsigned(at)] = e", "pass", SEARCH_TEST, "as_a_matrix_does"),
    ("diffcomb/solvers/moves/absorbing.py", "high | np.int64(e)", "high", SEARCH_TEST, "as_a_matrix_does"),
    (CONTRACTING, "costs[unsigned(parallel)] += costs[unsigned(f)]", "costs[unsigned(parallel)] -= costs[unsigned(f)]", "tests/test_solvers.py", "letter"),
    ("diffcomb/solvers/resolution.py", "edges_within(top.rows, labels)", "top.rows", "tests/test_resolution.py", "v_cycles"),
    (PERSISTENCY, "if 2 * most >= total", "if 3 * most >= total", SEARCH_TEST, "by_hand"),
    (PARTITION, "if part[neighbours[h]] == part[i]", "if True", SEARCH_TEST, "by_hand"),
    (OVERLAYING, "if is_better(small, before, best) else", "if True else", FUSING_TEST, "never_ends"),
    (OVERLAYING, "gained += (_held(costs, two) - _held(costs, one)) // 2", "pass", FUSING_TEST, "with_the_optimum"),
    (TABU, "if scale >= 1 and", "if False and", FUSING_TEST, "stay_integers"),
    (FUSING, "clusters_of_groups(lineages[at], group, count)", "clusters_of_groups(lineages[0], group, count)", FUSING_TEST, "disputed"),
    (TABU, "sums[b, i] -= _MEMBER", "sums[b, i] -= 0", SEARCH_TEST, "gains_what_it_says"),
    ("diffcomb/solvers/exact.py", "if not total:", "if True:", "tests/test_solvers.py", "separates"),
    ("diffcomb/solvers/bounds/triplets.py", "a + min(b, c, b + c)", "a + min(b, c)", "tests/test_bounds.py", "never_lower"),
    ("diffcomb/solvers/bounds/triplets.py", "known = known and", "known =", "tests/test_bounds.py", "packed_cycles"),
    ("diffcomb/solvers/bounds/paths.py", "if within else -costs[e]", "if within else costs[e]", "tests/test_bounds.py", "packed_cycles"),
    ("diffcomb/solvers/bounds/classes.py", "second if within == lowest else lowest", "lowest", "tests/test_bounds.py", "optimum_of_a_tree"),
    ("diffcomb/solvers/bounds/cycles.py", "left[unsigned(mates[h])] -= amount", "pass", "tests/test_bounds.py", "packed_cycles"),
    ("diffcomb/solvers/bounds/cycles.py", "(repulsive + 1 + at) % length", "at", "tests/test_bounds.py", "packed_cycles"),
    ("diffcomb/solvers/run.py", "elif round_ == 0 and", "elif", "tests/test_multilevel.py", "first_core_graph"),
    ("diffcomb/solvers/levels/lifted_rows.py", "is_base[at] |= rows.is_base[h]", "is_base[at] = rows.is_base[h]", "tests/test_lifted.py", "contraction"),
    ("diffcomb/solvers/moves/agglomerating.py", "costs[e] = -np.inf", "pass", "tests/test_agglomeration.py", "gasp_to"),
    ("diffcomb/solvers/moves/linkages.py", "if np.isinf(b):", "if False:", "tests/test_agglomeration.py", "gasp_that"),
    ("diffcomb/solvers/moves/mutex.py", "classes[u] = max(classes[u], classes[v])", "pass", "tests/test_agglomeration.py", "semantic_mutex"),
    ("diffcomb/labelling.py", "if x[u] != x[v] or", "if", "tests/test_solvers.py", "feasible and greedy"),
    ("diffcomb/grid.py", "-(-d // 2)", "d // 2", "tests/test_graph.py", "equations_10"),
    (SURROGATE, "0.5 * sigma[free]", "sigma[free]", "tests/cops/test_surrogate.py", "small_false_positive"),
    (SURROGATE, "return iou**4", "return iou**2", "tests/cops/test_surrogate.py", "soft_threshold"),
    (QUALITY, "if iou > 0.5", "if iou >= 0.5", "tests/cops/test_quality.py", "golden"),
    (QUALITY, " - overlap.get((p, VOID), 0))", ")", "tests/cops/test_quality.py", "golden"),
    (QUALITY, "if not segment.iscrowd:", "if g in found.real_area and not segment.iscrowd:", "tests/cops/test_quality.py", "without_pixels"),
    (NEURITES, "table.sum(1)[rows] / shared", "table.sum(0)[columns] / shared", "tests/cops/test_neurites.py", "by_hand"),
    (NEURITES, "np.delete(table.sum(0), BACKGROUND)", "table.sum(0)", "tests/cops/test_neurites.py", "by_hand"),
    (MISTAKES, "if 2 * pixels > parts[part]", "if pixels", "tests/cops/test_mistakes.py", "kinds"),
    (IMAGES, "turned = ImageOps.exif_transpose(image)", "turned = image.copy()", "tests/cops/test_images.py", "orientation"),
    (IMAGES, "low, high = numbers.min(), numbers.max()", "low, high = 0.0, 65535.0", "tests/cops/test_images.py", "range"),
    (IMAGES, "        return stretched(numbers)\n", "        pass\n", "tests/cops/test_normalize.py", "percentiles_act"),
    (NORMALIZE, "LOW, HIGH = 1.0, 99.8", "LOW, HIGH = 0.0, 100.0", "tests/cops/test_normalize.py", "percentiles_act"),
    (SHAPES, "self.label not in stuff", "self.label in stuff", CONVERT_TEST, "stuff_lies_below"),
    (SHAPES, "-self.area", "self.area", CONVERT_TEST, "smaller_coco"),
    (CHECKS, "held_out_too == across", "not across", "tests/cops/test_check_data.py", "all_errors"),
    (TINY, "if z[j] != place else max(-costs[i, j], 0.0)", "", EXTREME_TEST, "tiny_instances"),
    (TINY, "nodes -= nodes.min(axis=1, keepdims=True)", "pass", EXTREME_TEST, "tiny_instances"),
    (REDUCTION, "edge_costs[cannot] = -weight", "edge_costs[cannot] = weight", EXTREME_TEST, "infinite_costs_are_obeyed"),
    (REDUCTION, "bound - self.offset", "bound + self.offset", EXTREME_TEST, "infinite_costs_are_obeyed"),
    (OBJECTIVE, "gain += w if was else -w", "gain -= w if was else -w", EXTREME_TEST, "improvement"),
    ("diffcomb/_implicit.py", "RowTable(-self.table", "RowTable(self.table", "tests/test_cut_output.py", "described"),
    ("diffcomb/_implicit.py", "self.table[self.index]", "self.table[self.index[::-1]]", "tests/test_cut_output.py", "described"),
    (CONFIDENCE, "return -(unary", "return (unary", PARTS_TEST, "confidence"),
    (VIEWS, "length - 1 + d % 2 - place", "length - 1 - place", "tests/cops/test_views.py", "own_cell"),
    (STEP, "if loss.through_solver:", "if True:", "tests/cops/test_recipes.py", "drop_costs and mean"),
    (CONFIG, "RECIPES[name].on_grid or name", "name", "tests/cops/test_recipes.py", "counterparts"),
    (TILES, "/ (2 * abs(edge", "/ (abs(edge", "tests/cops/test_tiles.py", "add_up_to_one"),
]  # fmt: skip
SLOW = "tests/test_multilevel.py"  # stops at the first failure, and takes minutes where there is none
UNCHANGED = [
    (LIFTING, None, None, tests, " or ".join(sorted({f"({m[4]})" for m in MUTATIONS if m[3] == tests})))
    for tests in sorted({m[3] for m in MUTATIONS} - {SLOW})
]
WORKERS = os.cpu_count() or 1


SECONDS = 180  # that the named tests may take


class Mutant:
    """A copy of the sources, and a process that runs tests on it (mutant_runner.py)."""

    def __init__(self, folder):
        self.folder = folder
        for name in ("diffcomb", "examples", "tests"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.nb?", "*.pt"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        settings = {"NUMBA_DISABLE_JIT": "1", "OMP_NUM_THREADS": "1", "PYTEST_ADDOPTS": "", "PYTHONPATH": str(folder),
                    "PYTHONDONTWRITEBYTECODE": ""}  # fmt: skip
        environment = {**os.environ, **settings}
        command = [sys.executable, str(Path(__file__).parent / "mutant_runner.py")]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=folder, env=environment, **pipes)

    def outcome(self, file, original, mutant, tests, chosen):
        """Apply a mutation; returns the exit status of the named tests and what they printed."""
        path = self.folder / file
        text = path.read_text()
        assert original is None or text.count(original) == 1, f"{original!r} must occur once in {file}"
        self._write(path, text if original is None else text.replace(original, mutant))
        output = self.folder / "output"
        unread = ["--hypothesis-profile", "first failure"]  # a smaller example of it would take longer than all else
        unread += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]
        command = [str(output), SECONDS, "-q", "-x", "-p", "no:cacheprovider", *unread, "-k", chosen, tests]
        print(json.dumps(command), file=self.process.stdin, flush=True)
        status = int(self.process.stdout.readline())
        self._write(path, text)
        return status, output.read_text()

    @staticmethod
    def _write(path, text):
        """Python takes a compiled file for that of a source of the same size and second: it must go."""
        path.write_text(text)
        Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=60)


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """What the named tests say of every chosen mutation: run side by side, each on a copy of the sources of its own."""
    mutants = [Mutant(tmp_path_factory.mktemp("mutant")) for _ in range(WORKERS)]
    idle = Queue()
    for mutant in mutants:
        idle.put(mutant)
    items = [item for item in request.session.items if getattr(item, "module", None) is request.module]
    with ThreadPoolExecutor(WORKERS) as pool:
        yield {
            mutation: pool.submit(outcome, idle, mutation)
            for mutation in (item.callspec.params["mutation"] for item in items if hasattr(item, "callspec"))
        }
    for mutant in mutants:
        mutant.close()


def outcome(idle, mutation):
    mutant = idle.get()
    try:
        return mutant.outcome(*mutation)
    finally:
        idle.put(mutant)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m[0].rsplit('/')[-1]}: {m[1]}")
def test_the_mutant_is_caught(outcomes, mutation):
    status, output = outcomes[mutation].result()
    assert status == 1, f"no test noticed: {output[-2500:]}"
    assert "failed" in output
    assert "ModuleNotFoundError" not in output


@pytest.mark.parametrize("mutation", UNCHANGED, ids=lambda m: m[3])
def test_the_copy_itself_passes(outcomes, mutation):
    """Or else the tests would notice a mutant that they do not even look at."""
    status, output = outcomes[mutation].result()
    assert status == 0, output[-2000:]
