"""Typed reading and writing of artifacts; the work is done by the store."""

from pathlib import Path

import dagster as dg

from sft_pipeline.artifacts import Artifact
from sft_pipeline.lineage.presentation import report_page
from sft_pipeline.lineage.resources import Project, user_errors


class ArtifactIOManager(dg.ConfigurableIOManager):
    """Stores artifacts content-addressed and atomically, and checks every hash when they are read back."""

    project: dg.ResourceDependency[Project]

    def handle_output(self, context: dg.OutputContext, obj: Artifact) -> None:
        """Store `obj` and make it current for its asset and experiment."""
        asset, experiment, store = context.asset_key.path[-1], context.partition_key, self.project.artifacts()
        done = False
        try:
            with user_errors():
                stored = store.put(asset, experiment, obj)
            done = True
        finally:
            # Only now may what the step kept for a restart go: a training that cannot be stored is not lost.
            store.end(asset, experiment, stored=done)
        # A remote store's local folder is a cache of this machine: what is recorded is where the object lies.
        there = f"{store.objects.named(asset, stored.root.parent.name)}/files"
        with user_errors():
            pages = {n: report_page(ref.path, there, store) for n, ref in stored.files.items() if n.endswith(".html")}
        uri = there if "://" in there else Path(there).as_uri()
        context.add_output_metadata({"folder": dg.MetadataValue.path(there), "dagster/uri": uri, **pages})

    def load_input(self, context: dg.InputContext) -> Artifact:
        """The current artifact of the upstream asset, as the type that the consumer declares."""
        asset = context.asset_key.path[-1]
        with user_errors():
            return self.project.artifacts().get(asset, context.asset_partition_key, context.dagster_type.typing_type)
