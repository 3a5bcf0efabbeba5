"""TRL's SFTTrainer with the planned order of rows and a dev loss that is weighted by tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sft_pipeline.experiment import Training
from sft_pipeline.training import schedule

if TYPE_CHECKING:
    from trl import SFTTrainer


def trainer_class(lengths: Sequence[int], training: Training) -> type["SFTTrainer"]:
    """The class of the trainer.

    Its dev loss is the mean negative log-likelihood (nats) of the dev split's tokens under the model, however they are
    divided into batches and processes. TRL's own averages batches, each weighing as many rows as it has, and adds the
    router's auxiliary loss, which is no part of a perplexity. Entropy and token accuracy are weighted alike.

    Args:
        lengths: tokens of each training row.
        training: decides the order of the rows.
    """
    import torch
    from torch.nn.functional import pad
    from trl import SFTTrainer

    class Trainer(SFTTrainer):
        """Reads the rows in the planned order and writes no model card into its checkpoints."""

        sums: list[torch.Tensor]
        grad_norm: Any = None
        """Norm of the gradient of the step at hand, before it is clipped."""

        def _get_train_sampler(self, train_dataset: Any = None) -> schedule.RowSampler:
            return schedule.RowSampler(lengths, training)

        def create_model_card(self, *args: Any, **kwargs: Any) -> None:
            pass

        def _get_grad_norm(self, model: torch.nn.Module, grad_norm: Any = None) -> Any:
            self.grad_norm = super()._get_grad_norm(model, grad_norm=grad_norm)
            return self.grad_norm

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
