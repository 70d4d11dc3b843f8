"""Format of the result file, which clients parse."""

from sqlalchemy.orm import Session

from app.db.tables import JobMetric
from app.jobs import result_file
from tests.factories import make_job


def test_one_line_per_step_with_blanks_for_missing_values(session: Session) -> None:
    job = make_job(session)
    first = {"train_loss": 1.523471, "train_mean_token_accuracy": 0.0}
    second = first | {"valid_loss": 2.0, "valid_mean_token_accuracy": 0.25, "full_valid_loss": 9.0}
    for step, values in ((2, second), (1, first), (10, first)):
        session.add(JobMetric(job_id=job.id, step=step, attempt=1, values=values))
    session.flush()
    assert result_file.render_step_metrics(session, job.id).decode() == (
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n"
        "1,1.52347,0.0,,\n"
        "2,1.52347,0.0,2.0,0.25\n"
        "10,1.52347,0.0,,\n"
    )


def test_method_specific_metrics_follow_openais_columns(session: Session) -> None:
    job = make_job(session)
    values = {"train_loss": 0.7, "train_reward_margin": 0.25, "full_valid_reward_accuracy": 1.0}
    session.add(JobMetric(job_id=job.id, step=1, attempt=1, values=values))
    session.flush()
    assert result_file.render_step_metrics(session, job.id).decode() == (
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,"
        "full_valid_reward_accuracy,train_reward_margin\n"
        "1,0.7,,,,1.0,0.25\n"
    )
