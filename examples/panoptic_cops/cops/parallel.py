"""Data-parallel training with ``torchrun``: every process draws its share of the batch; one writes."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, distributed


def start(device: str) -> None:
    """Join the process group that ``torchrun`` announces, if there is one; gloo on a CPU, NCCL on CUDA."""
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ and not distributed.is_initialized():
        cuda = device != "cpu" and torch.cuda.is_available()
        if cuda:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("nccl" if cuda else "gloo")


def stop() -> None:
    """Leave the process group."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def rank() -> int:
    """Number of this process; 0 writes files."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world() -> int:
    """Number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def wait() -> None:
    """Wait for all processes: before what one has written is read."""
    if distributed.is_initialized():
        distributed.barrier()


def total(values: Tensor) -> Tensor:
    """Sum over the processes, differentiably: the gradient of every process's share flows back to it."""
    return _Total.apply(values) if world() > 1 else values  # type: ignore[no-any-return, no-untyped-call]


class _Total(torch.autograd.Function):
    """Every process computes the same loss of the total, and their gradients are averaged later: hence the sum."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        summed = values.detach().clone()
        distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        summed = gradient.contiguous().clone()
        distributed.all_reduce(summed)
        return summed


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace all gradients by their mean over the processes; a missing one counts as zeros."""
    if world() == 1:
        return
    for parameter in parameters:
        if not parameter.requires_grad:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        distributed.all_reduce(parameter.grad)
        parameter.grad /= world()
