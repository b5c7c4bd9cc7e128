"""Trains a second-order classifier; see `python train.py --help` and conf/config.yaml.

    python train.py                                        the drawn birds: a minute, no download
    python train.py head=average                           another head
    python train.py -m head=average,bilinear seed=0,1,2    a sweep, with a table at its end
    python train.py experiment=cub200_vgg16                a paper's recipe
    python train.py data=image_folder data.path=FOLDER     your own pictures
"""

from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from conf.schema import Task, checked  # its module registers the schema of conf/config.yaml
from errors import UserError
from experiments.commands import exit_with, import_tensorflow, one_line_errors


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config) -> float:
    """Runs one configuration in Hydra's output folder; returns what a sweeper may maximise."""
    config = checked(config)
    device = import_tensorflow()  # here and not above, so that --help and --cfg answer at once
    from experiments import classification, report, run_folder

    folder = Path(HydraConfig.get().runtime.output_dir)
    run_folder.write_config(folder, config)
    print(f"{folder} on {device}", flush=True)
    run = {Task.classification: classification.run}[config.task]
    try:
        results = run(config, folder)
    except UserError as error:
        (folder / "error.txt").write_text(f"{error}\n")
        if HydraConfig.get().mode is RunMode.RUN:
            exit_with(error)
        print(f"error: {error}", flush=True)
        return float("nan")  # one job's failure is no reason to lose the others
    print(report.final_table(results, folder), flush=True)
    return results["val"]["accuracy"] if results["val"] else float("nan")  # never the test split's


if __name__ == "__main__":
    with one_line_errors():
        main()
