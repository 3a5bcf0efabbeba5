"""What a log record says beyond the trainer's own figures: throughput, memory, and how far the adapter has come."""

import os
import resource
import time
from typing import TYPE_CHECKING, Any

from sft_pipeline.training.kernels import compiled_variants

if TYPE_CHECKING:
    import torch
    from torch.nn import Module
    from transformers import TrainerCallback
    from trl import SFTTrainer


def metrics(trainer: "SFTTrainer") -> "TrainerCallback":
    """A callback that completes each record of the training loss, for the callbacks after it.

    `seconds` and `tokens_per_second` are those of the steps since the last record, evaluations and checkpoints not counted;
    tokens are real ones, without padding. `waiting_share` is the share of that time in which a step waited for its rows.
    `memory_bytes` and `peak_memory_bytes` are the device's, on the CPU those of the process. What does not depend on time goes into the log history too: `lora_norm_mean` and `lora_norm_max`,
    `clipped_share` (share of the steps since the last record whose gradient was clipped), and `module_grad_norm/…` by adapted module.
    """
    import torch
    from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

    class Metrics(TrainerCallback):
        mark = time.monotonic()
        paused = True
        seconds = 0.0
        tokens = 0

        def on_train_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            self.tokens = trainer._total_train_tokens

        def on_step_begin(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            if self.paused:
                self.mark, self.paused = time.monotonic() - trainer.wait, False

        def on_step_end(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            self.paused = control.should_log or control.should_evaluate or control.should_save
            if self.paused and args.device.type == "cuda":
                torch.cuda.synchronize()  # the device works on what this process is ahead of it
            now = time.monotonic()
            self.seconds, self.mark = self.seconds + now - self.mark, now

        def on_log(
            self,
            args: TrainingArguments,
            state: TrainerState,
            control: TrainerControl,
            *,
            logs: dict[str, Any],
            model: "Module",
            **kwargs: Any,
        ) -> None:
            if "loss" not in logs:
                return
            tokens = trainer._total_train_tokens - self.tokens
            logs["seconds"] = round(self.seconds, 4)
            logs["tokens_per_second"] = round(tokens / self.seconds, 1) if self.seconds else 0.0
            logs["waiting_share"] = round(trainer.waited / self.seconds, 4) if self.seconds else 0.0
            trainer.waited = 0.0
            if variants := compiled_variants():
                logs["compiled_graphs"] = variants
            logs["memory_bytes"], logs["peak_memory_bytes"] = memory(args.device.type)
            self.tokens, self.seconds = trainer._total_train_tokens, 0.0
            figures = {} if args.fsdp else lora_norms(model)  # of which a process holds but a part of each matrix
            # Not grad_norm/…: MLflow keeps a metric as a file, and could not have a folder of that name beside it.
            figures |= {f"module_grad_norm/{name}": float(norm) for name, norm in trainer.module_norms.items()}
            clipped = [float(norm) > args.max_grad_norm for norm in trainer.norms]
            figures["clipped_share"] = sum(clipped) / max(len(clipped), 1)
            trainer.norms.clear()
            logs.update(figures)
            state.log_history[-1].update(figures)

    return Metrics()


def grad_norms(model: "Module") -> "dict[str, torch.Tensor]":
    """Norm of the gradient of each kind of adapted module (such as `q_proj`), over all layers; before it is clipped."""
    import torch

    found: dict[str, list[torch.Tensor]] = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            module, adapter, _ = name.partition(".lora_")
            found.setdefault(module.rpartition(".")[2] if adapter else "others", []).append(parameter.grad)
    return {name: torch.stack(torch._foreach_norm(grads)).norm() for name, grads in sorted(found.items())}


def lora_norms(model: "Module") -> dict[str, float]:
    """Mean and maximum over the adapted modules of the Frobenius norm of their update, scaling · ‖B·A‖.

    The product itself would be as large as the base's own matrix; ‖BA‖² = Σ (BᵀB) ∘ (AAᵀ) needs two r × r matrices.
    """
    import torch
    from peft.tuners.lora import LoraLayer

    squares = []
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, LoraLayer):
                for name in module.lora_A:
                    a, b = (side[name].weight.float() for side in (module.lora_A, module.lora_B))
                    experts = getattr(
                        module, "num_experts", 1
                    )  # PEFT's order: experts × rank × in, out × rank × experts
                    if experts > 1:
                        a = a.reshape(experts, -1, a.shape[-1])
                        b = b.reshape(b.shape[0], -1, experts).permute(2, 0, 1)
                    squares.append(((b.mT @ b) * (a @ a.mT)).sum() * module.scaling[name] ** 2)
    if not squares:
        return {}
    norms = torch.stack(squares).clamp(min=0).sqrt()
    return {"lora_norm_mean": norms.mean().item(), "lora_norm_max": norms.max().item()}


def memory(device: str) -> tuple[int, int]:
    """Memory in use now and at most so far, in bytes: the device's, on the CPU the resident size of the process."""
    if device == "cuda":
        import torch

        return torch.cuda.memory_allocated(), torch.cuda.max_memory_allocated()
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return now, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kibibytes on Linux
