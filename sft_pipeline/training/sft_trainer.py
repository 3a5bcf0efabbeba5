"""TRL's SFTTrainer with the planned order of rows and a dev loss that is weighted by tokens."""

import time
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from sft_pipeline.experiment import Training
from sft_pipeline.training import schedule
from sft_pipeline.training.callbacks.metrics import grad_norms

if TYPE_CHECKING:
    from trl import SFTTrainer


def trainer_class(lengths: Sequence[int], training: Training) -> type["SFTTrainer"]:
    """The class of the trainer.

    Its dev loss is the mean negative log-likelihood (nats) of the dev split's tokens under the model, however they are
    divided into batches and processes. TRL's own averages batches, each weighing as many rows as it has, and adds the
    router's auxiliary loss, which is no part of a perplexity. Entropy and token accuracy are weighted alike.

    Args:
        lengths: tokens of each training row.
        training: decides the order of the rows, and how many of them a step reads.
    """
    import torch
    from torch.nn.functional import pad
    from torch.utils.data import DataLoader
    from trl import SFTTrainer

    seen: list[int] = []  # rows that the steps until then have read, where steps come whole
    whole = training.divided_here

    class Trainer(SFTTrainer):
        """Reads the rows in the planned order and writes no model card into its checkpoints."""

        sums: list[torch.Tensor]
        rows: schedule.RowSampler | None = None
        """Order of the rows, where steps do not come whole."""
        grad_norm: Any = None
        """Norm of the gradient of the step at hand, before it is clipped."""
        norms: list[Any] = []
        """Those of the steps since the last log record."""
        module_norms: Mapping[str, Any] = {}
        """Norms by adapted module of the step that is logged next."""
        wait: float = 0.0
        """Seconds for which the step at hand waited for its rows."""
        waited: float = 0.0
        """Those of the steps since the last log record."""

        def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
            started = time.monotonic()
            try:
                return super().get_batch_samples(*args, **kwargs)
            finally:
                self.wait = time.monotonic() - started
                self.waited += self.wait

        def _get_train_sampler(self, train_dataset: Any = None) -> schedule.RowSampler:
            self.rows = schedule.RowSampler(lengths, training)
            return self.rows

        def _run_epoch(self, *, epoch: int, **options: Any) -> None:
            # On a resume over several processes accelerate wraps the sampler so deep that it does not tell it the pass.
            if self.rows:
                self.rows.set_epoch(epoch)
            super()._run_epoch(epoch=epoch, **options)

        def get_train_dataloader(self) -> Any:
            if not whole:
                return super().get_train_dataloader()
            steps = schedule.StepSampler(lengths, training, self.args.max_steps)
            seen[:] = accumulate((len(step) for step in steps), initial=0)
            rows = self._remove_unused_columns(self.train_dataset, description="training")

            def parts(step: list[dict[str, Any]]) -> list[Any]:
                """The batch of a step in its forward passes."""
                if training.packed_length is None:
                    starts = range(0, len(step), training.batch_size)
                    return [self.data_collator(step[start : start + training.batch_size]) for start in starts]
                found = schedule.packed_sequences([len(row["input_ids"]) for row in step], training.packed_length)
                return [self.data_collator([step[row] for row in rows]) for rows in found]

            pinned = self.args.dataloader_pin_memory
            return self.accelerator.prepare(DataLoader(rows, batch_sampler=steps, collate_fn=parts, pin_memory=pinned))

        def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Any:
            if whole:
                batch_samples = [part for step in batch_samples for part in step]
            return super()._get_num_items_in_batch(batch_samples, device)

        def training_step(self, model: torch.nn.Module, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
            if not whole:
                return super().training_step(model, inputs, num_items_in_batch)
            # By this a model's loss is divided that does not count the tokens of the whole step, and an auxiliary one.
            self.current_gradient_accumulation_steps = len(inputs)
            loss = torch.zeros((), device=self.args.device)
            for part in inputs:
                loss += super().training_step(model, part, num_items_in_batch)
            return loss

        def floating_point_ops(self, inputs: Any) -> int:
            parts = inputs if whole else [inputs]
            return sum(super(Trainer, self).floating_point_ops(part) for part in parts)

        def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
            if whole:  # the trainer takes the whole run for one epoch
                self.state.epoch = seen[self.state.global_step] / len(lengths)
            super()._maybe_log_save_evaluate(*args, **kwargs)

        def create_model_card(self, *args: Any, **kwargs: Any) -> None:
            pass

        def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
            self.grad_norm = super()._get_grad_norm(model, grad_norm=grad_norm)
            self.norms.append(self.grad_norm)
            return self.grad_norm

        def _clip_grad_norm(self, model: torch.nn.Module) -> Any:
            step = self.state.global_step + 1
            logged = step == self.args.max_steps or any(
                step % every == 0 for every in (training.logging_steps, training.save_steps)
            )
            # Under FSDP a process holds but a part of each matrix.
            self.module_norms = grad_norms(model) if logged and not training.fsdp else {}
            return super()._clip_grad_norm(model)

        def prediction_step(
            self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
        ) -> tuple[torch.Tensor, None, None]:
            inputs = self._prepare_inputs(inputs)
            with torch.no_grad(), self.compute_loss_context_manager():
                outputs = model(**inputs, use_cache=False, fused_lm_head=True)
            # Positions × (tokens, loss, entropy, correct), zero where the label is masked; a sum for each row of the batch.
            figures = [outputs.label_mask, -outputs.log_probs, outputs.entropy, outputs.is_top1]
            values = torch.stack([pad(f.double(), (1, 0)) for f in figures], -1)
            if (bounds := inputs.get("cu_seq_lens_q")) is not None:
                rows = torch.stack([part.sum(0) for part in values[0].tensor_split(bounds[1:-1].tolist())])
            else:
                rows = values.sum(1)
            # Rows that accelerate repeats, so that every process has as many, are left out again.
            self.sums.append(self.accelerator.gather_for_metrics(rows))
            total = rows.sum(0)
            return (total[1] / total[0].clamp(min=1)).float(), None, None

        def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
            self.sums = []
            output = super().evaluation_loop(*args, **kwargs)
            tokens, *totals = torch.cat(self.sums).sum(0).tolist()
            loss, entropy, accuracy = (total / max(tokens, 1) for total in totals)
            output.metrics["eval_loss"] = loss
            figures = {"entropy": entropy, "mean_token_accuracy": accuracy, "num_tokens": self._total_train_tokens}
            self._metrics["eval"].update({name: [value] for name, value in figures.items()})
            return output

    return Trainer
