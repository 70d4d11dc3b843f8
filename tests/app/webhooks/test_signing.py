"""Webhook signatures, verified by the official client."""

import json
import time

import pytest
from openai import InvalidWebhookSignatureError, OpenAI

from app.logs import redact
from app.webhooks import attempts, signing


class TestSignatures:
    SECRET = signing.generate_secret()
    BODY = json.dumps(
        {
            "id": "evt_1",
            "object": "event",
            "created_at": 1,
            "type": "fine_tuning.job.failed",
            "data": {"id": "ftjob-1"},
        }
    )

    def verify(self, headers: dict[str, str], body: str, secret: str) -> None:
        OpenAI(api_key="none").webhooks.verify_signature(body, headers, secret=secret)

    def test_each_active_secret_signs(self) -> None:
        newer = signing.generate_secret()
        signed = signing.build_signature_headers(
            [newer, self.SECRET], "evt_1", int(time.time()), self.BODY
        )
        for secret in (newer, self.SECRET):
            self.verify(signed, self.BODY, secret)
        with pytest.raises(InvalidWebhookSignatureError):
            self.verify(signed, self.BODY, signing.generate_secret())

    def test_a30_altered_and_replayed_deliveries_are_rejected(self) -> None:
        signed = signing.build_signature_headers(
            [self.SECRET], "evt_1", int(time.time()), self.BODY
        )
        with pytest.raises(InvalidWebhookSignatureError):
            self.verify(signed, self.BODY.replace("failed", "succeeded"), self.SECRET)
        with pytest.raises(InvalidWebhookSignatureError):
            self.verify(signed | {"webhook-id": "evt_2"}, self.BODY, self.SECRET)
        later = str(int(time.time()) + 1)
        with pytest.raises(InvalidWebhookSignatureError):
            self.verify(signed | {"webhook-timestamp": later}, self.BODY, self.SECRET)
        for shift in (-301, 3600):
            moment = int(time.time()) + shift
            replayed = signing.build_signature_headers([self.SECRET], "evt_1", moment, self.BODY)
            with pytest.raises(InvalidWebhookSignatureError):
                self.verify(replayed, self.BODY, self.SECRET)

    def test_the_example_of_the_specification(self) -> None:
        signed = signing.build_signature_headers(
            ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1614265330,
            '{"test": 2432232314}',
        )
        assert signed["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

    def test_secrets_show_neither_in_repr_nor_in_logs(self) -> None:
        attempt = attempts.DeliveryAttempt(
            delivery_id="d", endpoint_id="w", number=1, url="u", event_id="e", body="b",
            signing_keys=(self.SECRET,),
        )  # fmt: skip
        assert self.SECRET not in repr(attempt)
        assert self.SECRET[6:] not in redact(f"signed with {self.SECRET}.")
