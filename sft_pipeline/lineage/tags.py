"""Tags of steps, runs and events; nothing else, and no import: everything in `lineage/` may use it.

Op tags reach the step: an executor reads them to limit how many steps of a kind run at once, or to ask Kubernetes for a
GPU. See https://docs.dagster.io/guides/operate/managing-concurrency.
"""

DEVICE = "sft_pipeline/device"
"""Key of the tag that says which device a step needs."""

GPU_POD = {
    "container_config": {"resources": {"limits": {"nvidia.com/gpu": 1}}},
    "pod_spec_config": {
        "node_selector": {"nvidia.com/gpu.present": "true"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    },
}
"""What the pod of such a step asks for. The label is that of NVIDIA's GPU feature discovery, the taint that of its
operator; a cluster with others says so in the executor's `per_step_k8s_config`."""

CUDA = {DEVICE: "cuda", "dagster-k8s/config": GPU_POD}
"""Op tags of a step that loads the model: one at a time for each GPU. A specification may still declare the CPU."""

PARTITION = "dagster/partition"
"""Run tag that chooses the experiment. A RunRequest's `partition_key` would do the same, but Dagster checks it against
the partitions that the code location had when it was loaded; a run's process loads it again and knows new ones."""

COMMIT, SPECIFICATION, VERDICT = "sft_pipeline/commit", "sft_pipeline/specification", "sft_pipeline/verdict"
"""Tags that the steps set: of a run the code's commit and the gate's verdict, of a run and its materializations the beginning
of the hash of what the specification says."""

RECOMPUTE = "sft_pipeline/recompute"
"""Run tag: with the value `true` a step does its work again even where nothing that it depends on has changed."""

STAGE = "sft_pipeline/stage"
"""What a progress event of a step is about; beside it stand `done`, `total` and `figures`."""

DATA, MODEL, TRAINING, EVALUATION, RELEASE = "data", "model", "training", "evaluation", "release"
"""Asset groups, in the order in which data flows."""
