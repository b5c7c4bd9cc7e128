"""The experiment of each task."""

from conf.schema import Task
from experiments.classification import Classification
from experiments.experiment import Experiment
from experiments.metric_learning import MetricLearning
from experiments.one_class.experiment import OneClass
from experiments.post_mortem.experiment import PostMortem

TASKS: dict[Task, type[Experiment]] = {
    Task.classification: Classification,
    Task.metric_learning: MetricLearning,
    Task.one_class: OneClass,
    Task.post_mortem: PostMortem,
}
