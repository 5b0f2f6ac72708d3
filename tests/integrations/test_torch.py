"""PyTorch, Lightning and Hugging Face: run by make test-torch, in a virtual environment of their own."""

from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headway.errors import InvalidRequestError
from headway.journal.reader import read_frames
from headway.journal.rows import RowDecoder
from headway.tracking.local import LocalRun, find_local

pytestmark = [
    pytest.mark.torch,
    # The frameworks' own: deprecations of each other, and advice about data loaders and the machine.
    pytest.mark.filterwarnings("ignore"),
]

BATCHES, EPOCHS = 4, 3


def media(run: LocalRun) -> list[dict[str, Any]]:
    found = []
    for path in run.path.glob("metrics-*.hwj"):
        decoder = RowDecoder()
        list(decoder.feed(read_frames(path)))
        found += [entry.document for entry in decoder.entries]
    return found


class TestPlainLoop:
    def test_one_element_tensors_are_values(self, tracked) -> None:
        import torch

        parameter = torch.tensor([2.0], requires_grad=True)
        for step in range(3):
            loss = (parameter**2).sum()
            tracked.log({"loss": loss, "parameter": parameter}, step=step)
        tracked.finish()
        assert find_local(str(tracked.directory)).metrics("loss").values == [4.0, 4.0, 4.0]


class TestWatch:
    def train(self, model: Any, steps: int) -> None:
        import torch

        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for _ in range(steps):
            optimizer.zero_grad()
            model(torch.ones(8, 4)).pow(2).mean().backward()
            optimizer.step()

    def model(self) -> Any:
        import torch

        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))

    def test_gradients_and_parameters_come_every_so_many_passes(self, tracked) -> None:
        from headway.tracking.integrations.torch import watch

        model = self.model()
        with watch(model, tracked, every=2):
            self.train(model, 5)
        self.train(model, 5)
        tracked.finish()
        found = [(entry["step"], entry["name"]) for entry in media(find_local(str(tracked.directory)))]
        names = [name for name, _ in model.named_parameters()]
        expected = [
            (step, f"{kind}/{name}") for step in (0, 2, 4) for kind in ("gradients", "parameters") for name in names
        ]
        assert sorted(found) == sorted(expected)

    def test_a_histogram_counts_every_value_once(self) -> None:
        import torch

        from headway.tracking.integrations.torch import histogram

        for values in (torch.randn(1000), torch.full((7,), 3.0), torch.tensor([1.0, float("nan"), float("inf"), 2.0])):
            found = histogram(values)
            assert found is not None
            document = json.loads(found.content()[0])
            finite = values[torch.isfinite(values)]
            assert sum(document["counts"]) == finite.numel()
            assert document["edges"][0] <= finite.min().item() <= finite.max().item() <= document["edges"][-1]
        assert histogram(torch.tensor([float("nan")])) is None

    def test_evaluation_is_not_counted(self, remembering) -> None:
        import torch

        from headway.tracking.integrations.torch import watch

        model = self.model()
        with watch(model, remembering, every=1) as watching:
            model.eval()(torch.ones(1, 4))
            with torch.no_grad():
                model.train()(torch.ones(1, 4))
            assert watching.step == -1
        assert remembering.rows == []

    def test_training_goes_on_when_the_run_fails(self, broken, caplog) -> None:
        from headway.tracking.integrations.torch import watch

        model = self.model()
        with caplog.at_level(logging.WARNING, "headway"), watch(model, broken, every=1):
            self.train(model, 2)
        assert "the disk is on fire" in caplog.text

    @pytest.mark.parametrize("every", [0, -1, 1.5, True])
    def test_every_is_checked(self, remembering, every) -> None:
        from headway.tracking.integrations.torch import watch

        with pytest.raises(InvalidRequestError, match="every"):
            watch(self.model(), remembering, every=every)


@pytest.fixture(params=["lightning.pytorch", "pytorch_lightning"])
def pl(request: pytest.FixtureRequest) -> Any:
    """Each of the two names of Lightning; the objects for the second one are made where both are imported."""
    return importlib.import_module(request.param)


@pytest.fixture
def module(pl: Any) -> Any:
    import torch

    class Module(pl.LightningModule):
        def __init__(self, width: int = 4) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(width, 1)
            self.train_losses: list[float] = []
            self.val_losses: list[float] = []

        def loss(self, batch: Any) -> Any:
            return self.layer(batch[0]).pow(2).mean()

        def training_step(self, batch: Any, _index: int) -> Any:
            loss = self.loss(batch)
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            self.log("shared", 1.0)
            self.train_losses.append(loss.item())
            return loss

        def validation_step(self, batch: Any, _index: int) -> None:
            self.log("val_loss", self.loss(batch))
            self.log("shared", 2.0)

        def test_step(self, batch: Any, _index: int) -> None:
            self.log("test/loss", self.loss(batch))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05)

        def train_dataloader(self) -> Any:
            data = torch.utils.data.TensorDataset(torch.ones(BATCHES * 2, 4))
            return torch.utils.data.DataLoader(data, batch_size=2)

        val_dataloader = test_dataloader = train_dataloader

    return Module()


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    return {
        "max_epochs": EPOCHS,
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "log_every_n_steps": 1,
        "default_root_dir": str(tmp_path / "lightning"),
    }


class TestLightningLogger:
    def test_what_the_module_logs_is_kept_with_step_and_epoch(self, pl, module, options, tracked) -> None:
        from headway.tracking.integrations.lightning import HeadwayLogger

        logger = HeadwayLogger(tracked)
        assert isinstance(logger, pl.loggers.Logger)
        pl.Trainer(**options, logger=logger).fit(module)
        tracked.finish()
        run = find_local(str(tracked.directory))
        steps = run.metrics("train_loss_step")
        assert steps.values == pytest.approx(module.train_losses)
        assert steps.steps == list(range(BATCHES * EPOCHS))
        assert steps.epochs == [float(step // BATCHES) for step in range(BATCHES * EPOCHS)]
        assert run.metrics("val_loss").epochs == [0.0, 1.0, 2.0]
        assert run.config["width"] == 4
        assert "epoch" not in run.series()

    def test_it_begins_a_run_of_its_own(self, pl, module, options, tmp_path) -> None:
        from headway.tracking.integrations.lightning import HeadwayLogger

        quiet = {"mode": "offline", "capture": False, "console": False, "system": False}
        logger = HeadwayLogger(project="digits", name="mine", dir=tmp_path / "here", **quiet)
        trainer = pl.Trainer(**options, logger=logger)
        trainer.fit(module)
        trainer.test(module, verbose=False)
        logger.experiment.finish()
        run = find_local(str(logger.experiment.directory))
        assert (run.name, logger.name, logger.version) == ("mine", "digits", run.id)
        assert len(run.metrics("test/loss").values) == 1
        checkpoints = list((tmp_path / "lightning" / "digits" / run.id / "checkpoints").glob("*.ckpt"))
        assert len(checkpoints) == 1

    def test_other_ranks_say_nothing(self, pl, tracked, monkeypatch) -> None:
        from lightning_utilities.core.rank_zero import rank_zero_only

        from headway.tracking.integrations.lightning import HeadwayLogger

        monkeypatch.setattr(rank_zero_only, "rank", 1)
        logger = HeadwayLogger(project="digits")
        logger.log_metrics({"loss": 1.0}, step=1)
        logger.log_hyperparams({"lr": 1.0})
        logger.experiment.log({"loss": 1.0})
        assert (logger.name, logger.version) == (None, None)

    def test_options_and_a_run_are_not_both_taken(self, pl, tracked) -> None:
        from headway.tracking.integrations.lightning import HeadwayLogger

        with pytest.raises(InvalidRequestError, match="project"):
            HeadwayLogger(tracked, project="digits")


@pytest.mark.parametrize("used", ["lightning.pytorch", "pytorch_lightning"])
def test_only_the_lightning_that_is_used_is_imported(used) -> None:
    other = {"lightning.pytorch": "pytorch_lightning", "pytorch_lightning": "lightning.pytorch"}[used]
    program = f"""
import sys
from headway.tracking.integrations.lightning import HeadwayCallback, HeadwayLogger
assert not any("lightning" in name for name in sys.modules if not name.startswith("headway")), "imported at once"
import {used} as pl
assert isinstance(HeadwayLogger(project="digits"), pl.loggers.Logger)
assert isinstance(HeadwayCallback(None), pl.Callback)
assert {other!r} not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=120)


class TestLightningCallback:
    @pytest.mark.parametrize("every", [1, 2])
    def test_a_row_an_epoch_and_stage(self, pl, module, options, remembering, every) -> None:
        from headway.tracking.integrations.lightning import HeadwayCallback

        callback = HeadwayCallback(remembering)
        assert isinstance(callback, pl.Callback)
        trainer = pl.Trainer(**options, logger=False, callbacks=callback, check_val_every_n_epoch=every)
        trainer.fit(module)
        trainer.test(module, verbose=False)
        train, validation, test = (remembering.of(stage) for stage in ("train", "val", "test"))
        assert [(row.step, row.epoch) for row in train] == [(BATCHES * (epoch + 1), epoch) for epoch in range(EPOCHS)]
        for epoch, row in enumerate(train):
            mean = sum(module.train_losses[epoch * BATCHES : (epoch + 1) * BATCHES]) / BATCHES
            assert row.metrics["loss_epoch"] == pytest.approx(mean)
            assert set(row.metrics) <= {"loss_epoch", "loss_step", "loss", "shared"}
            assert row.metrics["shared"] == 1.0
        assert [row.epoch for row in validation] == [epoch for epoch in range(EPOCHS) if (epoch + 1) % every == 0]
        assert all(set(row.metrics) == {"loss", "shared"} and row.metrics["shared"] == 2.0 for row in validation)
        assert [row.metrics.keys() for row in test] == [{"loss"}]
        assert remembering.config == {"width": 4}

    def test_training_goes_on_when_the_run_fails(self, pl, module, options, broken) -> None:
        from headway.tracking.integrations.lightning import HeadwayCallback

        trainer = pl.Trainer(**options, logger=False, callbacks=[HeadwayCallback(broken)])
        trainer.fit(module)
        assert trainer.current_epoch == EPOCHS


class TestHuggingFace:
    @pytest.fixture
    def trainer(self, tmp_path: Path) -> Any:
        import torch
        import transformers

        configuration = transformers.BertConfig(
            vocab_size=16,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            max_position_embeddings=8,
        )
        data = [{"input_ids": torch.tensor([1, 2, 3]), "labels": torch.tensor(index % 2)} for index in range(8)]

        def make(callback: Any) -> Any:
            arguments = transformers.TrainingArguments(
                output_dir=str(tmp_path / "transformers"),
                num_train_epochs=2,
                per_device_train_batch_size=2,
                logging_steps=1,
                eval_strategy="epoch",
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
                use_cpu=True,
                hub_token="secret-token",
            )
            return transformers.Trainer(
                model=transformers.BertForSequenceClassification(configuration),
                args=arguments,
                train_dataset=data,
                eval_dataset=data,
                callbacks=[callback],
            )

        return make

    def test_logs_are_kept_by_stage(self, trainer, tracked) -> None:
        from headway.tracking.integrations.huggingface import HeadwayCallback

        made = trainer(HeadwayCallback(tracked))
        made.train()
        made.predict(made.eval_dataset)
        tracked.finish()
        run = find_local(str(tracked.directory))
        losses = run.metrics("loss", "train")
        assert losses.steps == list(range(1, 9))
        assert losses.epochs == [step / 4 for step in range(1, 9)]
        logged = [entry["loss"] for entry in made.state.log_history if "loss" in entry]
        assert losses.values == logged
        assert run.metrics("loss", "val").steps == [4, 8]
        assert len(run.metrics("train_loss", "train").values) == 1
        assert "epoch" not in str(run.series())

    def test_the_configuration_is_kept_without_secrets(self, trainer, tracked) -> None:
        from headway.tracking.integrations.huggingface import HeadwayCallback

        trainer(HeadwayCallback(tracked)).train()
        tracked.finish()
        run = find_local(str(tracked.directory))
        assert run.config["training"]["num_train_epochs"] == 2
        assert run.config["model"]["hidden_size"] == 8
        assert not any(b"secret-token" in path.read_bytes() for path in run.path.glob("*.hwj"))

    def test_it_begins_a_run_of_its_own(self, trainer, tmp_path) -> None:
        from headway.tracking.integrations.huggingface import HeadwayCallback

        quiet = {"mode": "offline", "capture": False, "console": False, "system": False}
        callback = HeadwayCallback(project="digits", dir=tmp_path / "here", **quiet)
        trainer(callback).train()
        callback.run.finish()
        assert find_local(str(callback.run.directory)).project == "digits"

    def test_training_goes_on_when_the_run_fails(self, trainer, broken) -> None:
        from headway.tracking.integrations.huggingface import HeadwayCallback

        made = trainer(HeadwayCallback(broken))
        made.train()
        assert made.state.global_step == 8


class TestTensorBoardOfTorch:
    def test_the_writer_of_torch_is_imported(self, tmp_path) -> None:
        import torch
        from torch.utils.tensorboard import SummaryWriter

        from headway.tracking.integrations.tensorboard import import_directory

        logs = tmp_path / "logs"
        with SummaryWriter(str(logs)) as writer:
            for step in range(5):
                writer.add_scalar("loss/train", 1 / (step + 1), step)
                writer.add_histogram("weights", torch.randn(100), step)
            writer.add_scalar("new", 0.25, 7, new_style=True)
            writer.add_text("note", "**hello**", 1)
            writer.add_image("picture", torch.rand(3, 4, 5), 2)
            writer.add_hparams({"lr": 0.1, "optimizer": "adam"}, {"hparam/loss": 0.5}, run_name="trial")
        report = import_directory(logs, dir=tmp_path / "here", mode="offline", project="digits")
        runs = {item.name: find_local(item.path) for item in report.runs}
        assert set(runs) == {"logs", "trial"}
        assert runs["logs"].metrics("loss/train").steps == list(range(5))
        assert runs["logs"].metrics("new").values == [0.25]
        assert runs["trial"].config == {"lr": 0.1, "optimizer": "adam"}
        kinds = [entry["type"] for entry in media(runs["logs"])]
        assert (kinds.count("histogram"), kinds.count("text"), kinds.count("image")) == (5, 1, 1)
        assert all(item.refused == item.corrupt == 0 for item in report.runs)
