"""Budgets: read from text, kept to by trainers, booked phase by phase."""

import pytest
from pfh.errors import StepFailedError, UserError
from pfh.hooks.budget import Account, Budget, spent
from pfh.hooks.ledger import Phase
from pfh.kit.training import TrainingOptions, train_resumably
from pfh.kit.training.spending import samples_of

from tests.test_training import adapter_of, run, same, stage, trainer_for

DRAWN = Phase(name="rollouts", seconds=30.0, tokens=500, samples=64)
TRAINED = Phase(name="training", seconds=60.0, tokens=2000, updates=8, samples=32, devices=2)


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("90s", 90, "seconds"),
        ("1.5 minutes", 90, "seconds"),
        ("2h", 7200, "seconds"),
        ("100 updates", 100, "updates"),
        ("1 update", 1, "updates"),
        ("5e4tokens", 50_000, "tokens"),
        ("500Samples", 500, "samples"),
    ],
)
def test_a_budget_is_a_number_and_a_unit(text, amount, unit):
    assert Budget.parse(text) == Budget(amount=amount, unit=unit)


@pytest.mark.parametrize("text", ["", "100", "updates", "0s", "-3 updates", "0.5 updates", "3 days", "1 2 s"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(UserError, match="--budget got"):
        Budget.parse(text)


def test_a_unit_close_to_a_known_one_is_offered():
    with pytest.raises(UserError, match="Did you mean 'updates'"):
        Budget.parse("10 updaets")


def test_seconds_count_every_phase_and_device_and_counts_only_training():
    phases = [DRAWN, TRAINED]
    assert spent(phases, "seconds") == 30 + 2 * 60
    assert spent(phases, "tokens") == 2000
    assert spent(phases, "updates") == 8
    assert spent(phases, "samples") == 32


def test_an_account_tells_what_is_left():
    account = Account(Budget(amount=100, unit="seconds"))
    account.add(DRAWN)
    assert account.left == 70
    account.add(TRAINED)
    assert account.left == 0
    assert Account().left == float("inf")


def trained_within(model, output_dir, budget: str, spend=(), rounds: int = 1, **options):
    """Train the tiny model on 8 examples, 4 an update, under `budget`; return the training and its account."""
    chosen = TrainingOptions(**{"batch_size": 4, "lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-2} | options)
    build, _ = trainer_for(model, chosen)
    account = Account(Budget.parse(budget), list(spend))
    trained = train_resumably(stage(output_dir, chosen, account=account), build, folder="", rounds=rounds)
    return trained, account


@pytest.mark.parametrize(("budget", "updates"), [("3 updates", 3), ("13 samples", 3), ("1 update", 1)])
def test_updates_and_samples_take_the_place_of_epochs(tiny_llama_path, tmp_path, budget, updates):
    trained, account = trained_within(tiny_llama_path, tmp_path / "out", budget, epochs=1)
    assert trained.phase.updates == updates
    assert account.phases == [trained.phase]
    if updates > 1:  # the schedule ran its course
        assert trained.curves[-1]["learning_rate"] < 1e-2


def test_training_ends_where_the_tokens_are_spent(tiny_llama_path, tmp_path):
    whole, _ = trained_within(tiny_llama_path, tmp_path / "whole", "1e9 tokens", epochs=3)
    per_update = whole.phase.tokens / whole.phase.updates
    part, account = trained_within(tiny_llama_path, tmp_path / "part", f"{2.5 * per_update:.0f} tokens", epochs=3)
    assert (whole.phase.updates, part.phase.updates) == (6, 3)
    assert account.left == 0


def test_seconds_end_a_training_that_would_go_on_for_long(tiny_llama_path, tmp_path):
    trained, _ = trained_within(tiny_llama_path, tmp_path / "out", "6s", epochs=100_000, save_steps=10_000)
    assert 1 < trained.phase.updates < 200_000


def test_what_rollouts_spent_is_not_there_for_training(tiny_llama_path, tmp_path):
    with pytest.raises(StepFailedError, match=r"The budget of 30 device seconds leaves 0 for training"):
        trained_within(tiny_llama_path, tmp_path / "out", "30s", spend=[DRAWN])


def test_less_than_one_update_is_refused(tiny_llama_path, tmp_path):
    with pytest.raises(StepFailedError, match=r"leaves 3 for training, less than one update; an update takes 4"):
        trained_within(tiny_llama_path, tmp_path / "samples", "3 samples")
    with pytest.raises(StepFailedError, match=r"leaves 5 tokens for training, and one update took"):
        trained_within(tiny_llama_path, tmp_path / "tokens", "5 tokens")


def test_rounds_to_come_keep_their_part(tiny_llama_path, tmp_path):
    trained, account = trained_within(tiny_llama_path, tmp_path / "out", "6 updates", rounds=3)
    assert trained.phase.updates == 2
    assert account.left == 4


def test_a_budget_that_was_reached_is_not_exceeded_after_a_kill(tiny_llama_path, tmp_path):
    first, _ = trained_within(tiny_llama_path, tmp_path / "out", "250 tokens", epochs=3, save_steps=1)
    again, _ = trained_within(tiny_llama_path, tmp_path / "out", "250 tokens", epochs=3, save_steps=1)
    assert again.phase.updates == first.phase.updates
    assert same(adapter_of(first), adapter_of(again))


def test_a_budget_as_large_as_the_epochs_changes_nothing(tiny_llama_path, tmp_path):
    free = run(tiny_llama_path, tmp_path / "free", epochs=2)[0]
    kept, _ = trained_within(tiny_llama_path, tmp_path / "kept", "4 updates", epochs=1)
    assert same(adapter_of(free), adapter_of(kept))


def test_a_training_of_one_update_teaches_whatever_its_warm_up(tiny_llama_path, tmp_path):
    trained, _ = trained_within(tiny_llama_path, tmp_path / "out", "1 update", epochs=1, warmup=0.5)
    assert [row["learning_rate"] for row in trained.curves] == [1e-2]
    assert any(value.any() for name, value in adapter_of(trained).items() if "lora_B" in name)


@pytest.mark.parametrize(
    ("epochs", "samples"), [(1 / 3, 4), (2 / 3, 8), (1.0, 10), (1 + 1 / 3, 14), (2.9999999, 30), (3.0, 30)]
)
def test_samples_are_those_of_the_updates_also_in_an_epoch_that_was_not_ended(epochs, samples):
    assert samples_of(epochs, examples=10, per_update=4) == samples


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_schedule_runs_its_course_within_a_budget_that_ends_the_training_early(schedule, tiny_llama_path, tmp_path):
    whole, _ = trained_within(tiny_llama_path, tmp_path / "whole", "1e9 tokens", epochs=3)
    per_update = whole.phase.tokens / whole.phase.updates
    part, _ = trained_within(
        tiny_llama_path, tmp_path / "part", f"{5.5 * per_update:.0f} tokens", epochs=300, schedule=schedule, warmup=0.2
    )
    rates = [row["learning_rate"] for row in part.curves]
    assert part.phase.updates == 6
    assert max(rates) == pytest.approx(1e-2, rel=0.2)
    assert rates[-1] < 0.2 * max(rates)
    assert rates[0] < max(rates)  # the warm-up is a share of the budget too


def test_operations_are_a_budget_of_all_passes(tiny_llama_path, tmp_path):
    assert Budget.parse("5e15flops") == Budget(amount=5e15, unit="flops")
    large = Budget(amount=2e13, unit="flops")
    assert Budget.parse("2e+13 flops") == Budget.parse(str(large)) == large
    whole, account = trained_within(tiny_llama_path, tmp_path / "whole", "1e18 flops", epochs=3)
    assert account.budget.amount - account.left == pytest.approx(whole.phase.flops)
    half, _ = trained_within(tiny_llama_path, tmp_path / "half", f"{whole.phase.flops / 2:.0f} flops", epochs=3)
    assert (whole.phase.updates, half.phase.updates) == (6, 3)
    drawn = Phase(name="rollouts", seconds=1.0, flops=2e9)
    assert spent([drawn, whole.phase], "flops") == 2e9 + whole.phase.flops


def test_the_operations_of_a_training_are_those_of_its_passes(tiny_llama_path, tmp_path):
    """2 operations a weight and token forward, 2 back for the activations, 2 for each trained weight."""
    trained, _ = trained_within(tiny_llama_path, tmp_path / "out", "1e9 tokens", epochs=1, gradient_checkpointing=False)
    model = trained.trainer.model
    adapter = sum(one.numel() for one in model.parameters() if one.requires_grad)
    whole = sum(one.numel() for one in model.parameters()) - adapter
    read = model.get_input_embeddings().weight
    met = whole - (0 if read is model.get_output_embeddings().weight else read.numel())
    assert trained.phase.passed == trained.phase.tokens
    assert trained.phase.flops == pytest.approx(trained.phase.tokens * (4 * met + 2 * adapter))
