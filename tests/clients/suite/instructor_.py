"""instructor, in its default mode."""

import instructor
from inputs import MODEL, QUESTION, Customer
from openai import OpenAI

ASK = [{"role": "user", "content": QUESTION}]


def make_client() -> instructor.Instructor:
    return instructor.from_openai(OpenAI(max_retries=0))


def test_a_model() -> None:
    customer = make_client().chat.completions.create(
        model=MODEL, messages=ASK, response_model=Customer, max_retries=0
    )
    assert isinstance(customer, Customer)


def test_a_client_by_its_providers_name() -> None:
    client = instructor.from_provider(f"openai/{MODEL}")
    assert isinstance(client.create(messages=ASK, response_model=Customer), Customer)


def test_partial_models() -> None:
    create = make_client().chat.completions.create_partial
    *_, last = create(model=MODEL, messages=ASK, response_model=Customer)
    assert Customer.model_validate(last.model_dump())


def test_an_iterable() -> None:
    create = make_client().chat.completions.create_iterable
    customers = create(
        model=MODEL, messages=ASK, response_model=Customer, max_tokens=300, temperature=0
    )
    assert all(isinstance(customer, Customer) for customer in customers)
