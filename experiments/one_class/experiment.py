"""task=one_class: compact features of one class, tested on classes never seen.

Perera and Patel 2019. With several targets each has a folder of its own, so that an interrupted run
resumes at the target where it stopped.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import files
import run_folder
from data.content import copies_between
from data.datasets import Dataset, open_dataset
from experiments.experiment import Experiment
from experiments.one_class import results
from experiments.one_class.features import build_features, stage_1_sources
from experiments.one_class.one_target import OneTarget
from experiments.one_class.targets import Target, share_images, targets
from models.parts import build_parts
from run_folder import Results
from training.precision import resolve_precision
from training.reproducibility import seed_everything

logger = logging.getLogger(__name__)


class OneClass(Experiment):
    """Trains one model for each target; reports the AUROC of each scorer.

    The record has "val" and "test", the AUROC of the learned features by k-NN; "frozen" and
    "learned", that of each scorer; and "classes", all of these for each target. With several
    targets the former are means, and "std" contains their standard deviations.
    """

    def open_data(self) -> None:
        config = self.config
        assert config.reference is not None
        self.dataset = open_dataset(config.data, config.seed)
        self.reference = open_dataset(config.reference, config.seed)
        self.targets = targets(config, self.dataset, self.reference)
        self.folders = [self._folder(target) for target in self.targets]
        logger.info("%s\nreference: %s", self.dataset.summary(), self.reference.summary())
        run_folder.write_splits(self.folder, self.dataset, self.reference)
        run_folder.write_citations(self.folder, self.dataset, self.reference)
        self.config = resolve_precision(config, self.dataset, self.folder, self.workers)
        seed_everything(self.config)

    def compare_images(self, *datasets: Dataset) -> None:
        super().compare_images(*datasets)
        if not share_images(self.config) and (copies := copies_between(*datasets)):
            logger.warning(copies)

    def trials(self) -> Iterator[OneTarget]:
        """Yields the targets that have not finished; they share the frozen parts and features."""
        config = self.config
        parts = build_parts(config, lambda shape: build_features(config, shape, rank=1))
        sources = stage_1_sources(config, self.dataset, self.reference, parts)
        self.compare_images(self.dataset, self.reference)
        self.descriptor_size = parts.descriptor.output.shape[-1]
        weights = [model.get_weights() for model in (parts.backbone, parts.descriptor)]
        for target, folder in zip(self.targets, self.folders, strict=True):
            if not (folder / "target.json").exists():
                logger.info("\ntarget %s: %s", target.name, target.summary())
                yield OneTarget(config, folder, self.workers, target, sources, weights)

    def report(self) -> Results:
        records = {
            target.name: files.read_json(folder / "target.json")
            for target, folder in zip(self.targets, self.folders, strict=True)
        }
        if len(records) > 1:
            results.join_predictions(self.folder, self.folders)
        record = results.over_targets(records) | {
            "classes": records,
            "descriptor_size": self.descriptor_size,
            "precision": self.config.trainer.precision.value,
            "seconds": self.seconds(),
        }
        return self.finish(record)

    def _folder(self, target: Target) -> Path:
        """The run's own folder for a single target."""
        name = f"{target.label:03d}-" + re.sub(r"\W+", "_", target.name)
        return self.folder if len(self.targets) == 1 else self.folder / "targets" / name
